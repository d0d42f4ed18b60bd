// A chat: each line of one client goes to all the others.
#pragma once

#include "06-full-server/application.hpp"
#include "06-full-server/connection.hpp"
#include "06-full-server/server.hpp"

#include <algorithm>
#include <memory>
#include <string_view>

class Chat final : public Application {
public:
    explicit Chat(FullServer& server) : server_(server) {}

    std::unique_ptr<Session> make_session() override { return std::make_unique<ChatSession>(server_); }

private:
    class ChatSession final : public Session {
    public:
        explicit ChatSession(FullServer& server) : server_(server) {}

    private:
        // All lines that end in these bytes go out together; what follows the last of them waits for its own end.
        std::size_t received(Connection& from, const Piece& block) override {
            const std::string_view text(block.bytes.data(), block.bytes.size());
            std::size_t whole = 0;            // bytes of lines that have ended
            std::size_t line = line_.size();  // length of the line that is being looked at
            while (whole < text.size()) {
                const std::size_t end = text.find('\n', whole);
                line += std::min(end, text.size()) - whole;
                if (line > longest_line || end == std::string_view::npos) break;
                whole = end + 1;
                line = 0;
            }
            if (whole > 0) {
                line_.push(server_.buffers(), Piece{block.buffer, block.bytes.first(whole)});
                say(from);
            }
            if (line > longest_line) {
                from.drop("a line longer than 65536 bytes");
            } else if (line > server_.options().first_receive && server_.buffers().is_short()) {
                from.drop("no memory for a line without an end");
            } else if (whole < text.size()) {
                line_.push(server_.buffers(), Piece{block.buffer, block.bytes.subspan(whole)});
            }
            return text.size();
        }

        // The last line counts, even if its end was left out.
        bool finished(Connection& from) override {
            if (line_.empty()) return true;
            line_.push(server_.buffers(), "\n");
            say(from);
            return true;
        }

        void say(Connection& from) {
            server_.connections().for_each([&](Connection& to) {
                if (&to != &from) to.send(line_.pieces());
            });
            line_.clear();
        }

        static constexpr std::size_t longest_line = 65536;

        FullServer& server_;
        ByteQueue line_;  // has not ended yet
    };

    FullServer& server_;
};
