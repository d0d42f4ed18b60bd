// Why a connection of the full server ends. The first reason wins, but that it was dropped wins over all others.
#pragma once

#include <cstddef>

enum class End {
    not_started,  // it is still to be opened,
    none,         // and is open
    client_finished,
    lost,
    // The server says that it has finished and waits for the client to do so too:
    server_stops,
    refused,
    session_closes,
    // The server drops it:
    idle,
    silent,
    too_slow,
    no_end,
    no_memory,
    session_drops,
    session_failed
};
constexpr std::size_t end_count = static_cast<std::size_t>(End::session_failed) + 1;

constexpr bool is_drop(End end) { return end >= End::idle; }
