// A session that is asked line by line, as a simple protocol would be.
#pragma once

#include "06-full-server/application.hpp"
#include "06-full-server/connection.hpp"

#include <string>
#include <string_view>
#include <utility>

class LineSession : public Session {
protected:
    virtual void line(Connection& connection, const std::string& line) = 0;  // without its end
    // False: the next line has to wait, until something has been sent.
    virtual bool takes_lines(Connection& connection) { return !connection.is_full(); }

private:
    std::size_t received(Connection& connection, const Piece& bytes) final {
        const std::string_view text(bytes.bytes.data(), bytes.bytes.size());
        std::size_t used = 0;
        while (used < text.size() && takes_lines(connection)) {
            const std::size_t end = text.find('\n', used);
            line_ += text.substr(used, end - used);
            if (line_.size() > longest_line) {
                connection.drop("a line longer than 65536 bytes");
                return text.size();
            }
            if (end == std::string_view::npos) return text.size();
            used = end + 1;
            line(connection, std::exchange(line_, {}));
        }
        return used;
    }

    static constexpr std::size_t longest_line = 65536;  // or a client could fill our memory with one
    std::string line_;                                  // what has come of it
};
