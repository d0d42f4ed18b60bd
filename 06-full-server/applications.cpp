// What --app can name. A new application is its own header and one entry here.
#include "06-full-server/application.hpp"
#include "06-full-server/chat.hpp"
#include "06-full-server/echo.hpp"

namespace {

template <class Served>
std::unique_ptr<Application> make(FullServer& server) {
    return std::make_unique<Served>(server);
}

constexpr ApplicationEntry entries[] = {
    {"echo", "every byte goes back", make<Echo>},
    {"chat", "a line goes to every other client", make<Chat>},
};

}  // namespace

std::span<const ApplicationEntry> applications() { return entries; }
