// What every stage program promises, whatever its subject: one check for each, shared by the stages' suites.
#pragma once

#include "tests/support/client.hpp"
#include "tests/support/program.hpp"

#include <functional>

namespace support::contract {

void first_line_tells_where_it_listens();
void port_zero_takes_any_free_port();
void listens_on_the_port_it_is_given();
void listens_on_7007_by_default();
void a_bad_argument_is_refused_with_the_usage();
void a_port_in_use_is_named();
void stops_when_stdin_ends();

// `serve` is what a well-behaved client does, and checks that it was served.
using Serve = std::function<void(Program&)>;
void serves_on_after_many_resets(const Serve& serve);
// `serve_ten` does so with ten clients, and waits until all of them are gone.
void gives_every_handle_back(const Serve& serve_ten);

// For an echo.
void urgent_bytes_keep_their_place(const Program::Arguments& arguments = {"0"});

// `served`: of a client that sent `hello` and FIN while memory is short, whether it was served; a client that was
// neither served nor lost fails the test. `program`: the one with an operator new that fails, NN-name-failing-new.
using Served = std::function<bool(Program&, Client&)>;
void survives_a_lack_of_memory(const char* program, const Served& served, const Serve& serve,
                               const Program::Arguments& arguments = {"0"});
bool echoed_or_lost(Program& program, Client& client);  // `served` of an echo

}  // namespace support::contract

// The part of the contract that is the same for a program that serves nobody.
#define CONTRACT_TESTS(Suite)                                                                               \
    TEST_F(Suite, FirstLineTellsWhereItListens) { support::contract::first_line_tells_where_it_listens(); } \
    TEST_F(Suite, PortZeroTakesAnyFreePort) { support::contract::port_zero_takes_any_free_port(); }         \
    TEST_F(Suite, ListensOnThePortItIsGiven) { support::contract::listens_on_the_port_it_is_given(); }      \
    TEST_F(Suite, ListensOn7007ByDefault) { support::contract::listens_on_7007_by_default(); }              \
    TEST_F(Suite, ABadArgumentIsRefusedWithTheUsage) {                                                      \
        support::contract::a_bad_argument_is_refused_with_the_usage();                                      \
    }                                                                                                       \
    TEST_F(Suite, APortInUseIsNamed) { support::contract::a_port_in_use_is_named(); }                       \
    TEST_F(Suite, StopsWhenStdinEnds) { support::contract::stops_when_stdin_ends(); }
