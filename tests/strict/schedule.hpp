// What Windows may do at any time, and mostly does not: chosen by a seed, so that it can be asked for again.
//
// IOCP_STRICT_SEED in the environment, a number above 0, switches it on. The same seed takes the same decisions, in the
// order in which they are asked for; which thread asks first is the scheduler's.
#pragma once

#include <chrono>
#include <cstddef>

namespace strict {

// Any thread may ask, with the kernel's lock or without.

// The caller of the operation that has just begun does not go on before its packet has been handled: whoever touches
// the operation after its call does so when it is gone.
bool holds_caller();
// How much of `size` bytes a receive, or a send, takes at once: at least one.
std::size_t part_received(std::size_t size);
std::size_t part_sent(std::size_t size);
// The send that is to be cancelled has just ended.
bool is_cancelled_too_late();
// How long a packet is kept back before the port gets it; others may pass it meanwhile.
std::chrono::microseconds holds_packet_back();

// Not with the kernel's lock: somebody else comes first.
void pause_sometimes();

}  // namespace strict
