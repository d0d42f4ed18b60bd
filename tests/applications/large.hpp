// Each line is answered with a MiB that is made of it: more than --send-queue lets wait.
#pragma once

#include "tests/applications/line_session.hpp"

class Large final : public Application {
public:
    explicit Large(FullServer&) {}
    std::unique_ptr<Session> make_session() override { return std::make_unique<LargeSession>(); }

private:
    class LargeSession final : public LineSession {
        void line(Connection& connection, const std::string& line) override {
            std::string answer;
            while (answer.size() < 1 << 20)
                answer += line;
            answer.resize(1 << 20);
            connection.answer(answer);
        }
    };
};
