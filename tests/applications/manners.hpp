// Speaks first, and does what its client says: each of the ways in which a session may behave.
#pragma once

#include "tests/applications/events.hpp"
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
            } else if (line == "pause") {
                is_paused_ = true;
                connection.set_timer(0.01);
            } else if (line.starts_with("no timer after ")) {
                connection.set_timer(0.01);
                wait(line);
                connection.set_timer(0);
            } else if (line.starts_with("two answers around ")) {
                answer_twice(connection, line);
            } else if (line.starts_with("two answers of the timer around ")) {
                around_ = line;
                connection.set_timer(0.01);
            } else if (line == "nothing") {
                // is not answered
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
        // The last two words are events: the call is in here, and may go on.
        static void wait(const std::string& line) {
            const std::size_t second = line.rfind(' ');
            const std::size_t first = line.rfind(' ', second - 1);
            set_event(line.substr(first + 1, second - first - 1));
            wait_for_event(line.substr(second + 1));
        }
        static void answer_twice(Connection& connection, const std::string& line) {
            connection.answer("one\n");
            wait(line);
            connection.answer("two\n");
        }
        bool takes_lines(Connection& connection) override {
            return !is_paused_ && LineSession::takes_lines(connection);
        }
        void timer(Connection& connection) override {
            if (std::exchange(is_paused_, false)) return;
            around_.empty() ? connection.answer("timer\n") : answer_twice(connection, around_);
        }
        bool finished(Connection&) override {
            if (throws_at_the_end_) throw std::runtime_error("as the client asked");
            return true;
        }
        bool throws_at_the_end_ = false;
        bool is_paused_ = false;
        std::string around_;
    };
};

// Serves each fifth client only. For the others it throws instead of making a session, makes none, throws instead of
// greeting, or claims to have used more than has come.
class Fragile final : public Application {
public:
    explicit Fragile(FullServer&) {}
    std::unique_ptr<Session> make_session() override {
        const unsigned how = made_++ % 5;
        if (how == 1) throw std::runtime_error("no session for this client");
        if (how == 2) return nullptr;
        return std::make_unique<FragileSession>(how == 3, how == 4 ? 1 : 0);
    }

private:
    class FragileSession final : public Session {
    public:
        FragileSession(bool throws, std::size_t too_many) : throws_(throws), too_many_(too_many) {}

    private:
        void started(Connection&) override {
            if (throws_) throw std::runtime_error("no greeting");
        }
        std::size_t received(Connection& connection, const Piece& bytes) override {
            connection.answer(bytes);
            return bytes.bytes.size() + too_many_;
        }
        const bool throws_;
        const std::size_t too_many_;
    };
    std::atomic<unsigned> made_{0};
};
