// The memory of processes, as Linux tells it: PSS, which shares out among its users what several have in common.
#pragma once

#include <fstream>
#include <string>
#include <vector>

// In bytes for each connection; negative where it is not known (on Windows, or without process ids).
struct MemoryPerConnection {
    double server = -1;
    double whole = -1;  // with the other processes that were named
};

class MemoryUse {
public:
    explicit MemoryUse(const std::vector<int>& pids) {
        for (const int pid : pids)
            bytes_.push_back(pss(pid));
    }

    MemoryPerConnection since(const MemoryUse& before, std::size_t connections) const {
        MemoryPerConnection grown;
        for (std::size_t i = 0; i < bytes_.size(); ++i) {
            if (bytes_[i] < 0 || before.bytes_[i] < 0) return {};
            const double growth = (bytes_[i] - before.bytes_[i]) / static_cast<double>(connections);
            if (i == 0) grown = {growth, 0};
            grown.whole += growth;
        }
        return grown;
    }

private:
    static double pss(int pid) {
        std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
        std::string word;
        while (file >> word) {
            if (word != "Pss:") continue;
            double kibibytes = 0;
            if (file >> kibibytes) return kibibytes * 1024;
        }
        return -1;
    }

    std::vector<double> bytes_;
};
