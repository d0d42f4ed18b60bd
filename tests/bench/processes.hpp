// What Linux tells of other processes, in /proc: their memory, and how often they write.
#pragma once

#include <fstream>
#include <string>
#include <vector>

// PSS, which shares out among its users what several have in common. In bytes for each connection; negative where it is
// not known (on Windows, or without process ids).
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

// How many times a process has called write() and its kin; negative where that is not known. Under Wine each request to
// Wine's server is one of them, and a socket's send is none.
inline double write_calls(const std::vector<int>& pids) {
    if (pids.empty()) return -1;
    std::ifstream file("/proc/" + std::to_string(pids.front()) + "/io");
    std::string word;
    double count = -1;
    while (file >> word) {
        if (word == "syscw:" && file >> count) break;
    }
    return count;
}
