// Every byte goes back (the Echo protocol, RFC 862).
#pragma once

#include "06-full-server/application.hpp"
#include "06-full-server/connection.hpp"

//[ echo
class Echo final : public Application {
public:
    explicit Echo(FullServer&) {}

    std::unique_ptr<Session> make_session() override { return std::make_unique<EchoSession>(); }

private:
    class EchoSession final : public Session {
        std::size_t received(Connection& connection, const Piece& bytes) override {
            connection.answer(bytes);  // no copy: the queue refers to the buffer
            return bytes.bytes.size();
        }
    };
};
//]
