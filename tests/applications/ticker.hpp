// A thread that is no worker sends every client a line every so often: "tick NUMBER TIME", the time being
// QueryPerformanceCounter's. A client's line "gone" is answered with how many handles have said that theirs has gone.
#pragma once

#include "tests/applications/line_session.hpp"

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

class Ticker final : public Application {
public:
    Ticker(FullServer&, DWORD milliseconds) : milliseconds_(milliseconds), thread_([this] { run(); }) {}
    ~Ticker() override {
        ending_ = true;
        thread_.join();
    }
    std::unique_ptr<Session> make_session() override { return std::make_unique<TickerSession>(*this); }

private:
    class TickerSession final : public LineSession {
    public:
        explicit TickerSession(Ticker& ticker) : ticker_(ticker) {}

    private:
        void started(Connection& connection) override {
            const std::lock_guard lock(ticker_.mutex_);
            ticker_.handles_.push_back(connection.handle());
        }
        void line(Connection& connection, const std::string&) override {
            connection.answer("gone " + std::to_string(ticker_.gone_) + "\n");
        }
        Ticker& ticker_;
    };

    void run() {
        for (unsigned number = 0; !ending_; ++number) {
            {
                const std::lock_guard lock(mutex_);
                LARGE_INTEGER now;
                ::QueryPerformanceCounter(&now);
                const std::string text = "tick " + std::to_string(number) + " " + std::to_string(now.QuadPart) + "\n";
                gone_ += std::erase_if(handles_, [&](const ConnectionHandle& handle) { return !handle.send(text); });
            }
            ::Sleep(milliseconds_);
        }
    }

    const DWORD milliseconds_;
    std::mutex mutex_;
    std::vector<ConnectionHandle> handles_;
    std::atomic<std::size_t> gone_{0};
    std::atomic<bool> ending_{false};
    std::thread thread_;
};
