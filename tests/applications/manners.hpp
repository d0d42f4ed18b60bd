// Speaks first, and does what its client says: each of the ways in which a session may behave.
#pragma once

#include "tests/applications/line_session.hpp"

#include <atomic>
#include <stdexcept>

class Manners final : public Application {
public:
    explicit Manners(FullServer&) {}
    std::unique_ptr<Session> make_session() override { return std::make_unique<MannersSession>(); }

private:
    class MannersSession final : public LineSession {
        void started(Connection& connection) override { connection.answer("welcome\n"); }
        void line(Connection& connection, const std::string& line) override {
            if (line == "close") {
                connection.answer(std::string(4 << 20, 'c'));
                connection.close("as it asked");
                connection.answer("too late\n");
            } else if (line == "drop") {
                connection.drop("as it asked");
            } else if (line == "timer") {
                connection.set_timer(0.01);
            } else if (line == "throw") {
                throw std::runtime_error("as the client asked");
            } else if (line == "throw bad_alloc") {
                throw std::bad_alloc();
            } else if (line == "throw at the end") {
                throws_at_the_end_ = true;
            } else {
                connection.answer(line + "\n");
            }
        }
        void timer(Connection& connection) override { connection.answer("timer\n"); }
        bool finished(Connection&) override {
            if (throws_at_the_end_) throw std::runtime_error("as the client asked");
            return true;
        }
        bool throws_at_the_end_ = false;
    };
};

// Makes a session for every other client only, and greets every fourth with an exception.
class Fragile final : public Application {
public:
    explicit Fragile(FullServer&) {}
    std::unique_ptr<Session> make_session() override {
        const unsigned number = made_++;
        if (number % 2 == 1) throw std::runtime_error("no session for an odd client");
        return std::make_unique<FragileSession>(number % 4 == 2);
    }

private:
    class FragileSession final : public LineSession {
    public:
        explicit FragileSession(bool throws) : throws_(throws) {}

    private:
        void started(Connection&) override {
            if (throws_) throw std::runtime_error("no greeting");
        }
        void line(Connection& connection, const std::string& line) override { connection.answer(line + "\n"); }
        const bool throws_;
    };
    std::atomic<unsigned> made_{0};
};
