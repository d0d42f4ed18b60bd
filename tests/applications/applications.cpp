// What --app can name in 06-with-test-applications: our two, and those that show what the seam promises.
#include "06-full-server/chat.hpp"
#include "06-full-server/echo.hpp"
#include "tests/applications/large.hpp"
#include "tests/applications/manners.hpp"
#include "tests/applications/pool_work.hpp"
#include "tests/applications/ticker.hpp"

namespace {

template <class Served>
std::unique_ptr<Application> make(FullServer& server) {
    return std::make_unique<Served>(server);
}

template <DWORD milliseconds>
std::unique_ptr<Application> every(FullServer& server) {
    return std::make_unique<Ticker>(server, milliseconds);
}

constexpr ApplicationEntry entries[] = {
    {"echo", "every byte goes back", make<Echo>},
    {"chat", "a line goes to every other client", make<Chat>},
    {"large", "a MiB for each line", make<Large>},
    {"ticker", "a line ten times a second, from a thread of its own", every<100>},
    {"slow-ticker", "the same once a second", every<1000>},
    {"pool-work", "what blocks is done by Windows' thread pool", make<PoolWork>},
    {"manners", "does what its client says", make<Manners>},
    {"fragile", "fails for most clients", make<Fragile>},
};

}  // namespace

std::span<const ApplicationEntry> applications() { return entries; }
