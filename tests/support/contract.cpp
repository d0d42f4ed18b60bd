#include "tests/support/contract.hpp"

#include "tests/support/windows.hpp"

#include <new>
#include <vector>

namespace support::contract {
namespace {

std::string without_carriage_returns(std::string text) {
    std::erase(text, '\r');
    return text;
}

}  // namespace

void first_line_tells_where_it_listens() {
    promise("the first line is `listening on ADDRESS`, printed at once, and a client can connect to that address");
    likely(
        "the line is printed before listen(), or with the port that was asked for instead of the one that was given");
    Program program;
    expect(!matched(program.address(), "127\\.0\\.0\\.1:\\d+").empty(), "an address like 127.0.0.1:49152",
           program.address());
    const Client client(program.address());
    program.stop();
}

void port_zero_takes_any_free_port() {
    promise("port 0 takes any free port, so that two of the program can run side by side");
    likely("the port is fixed, or the line shows the port that was asked for and not getsockname's");
    Program one({"0"});
    Program other({"0"});
    expect(one.port() != other.port(), "two different ports", one.address() + " twice");
    one.stop();
    other.stop();
}

void listens_on_the_port_it_is_given() {
    promise("the first argument is the port");
    likely("the argument is not read, or its bytes are swapped (htons)");
    const std::string port = std::to_string(free_port());
    Program program({port});
    expect(program.address() == "127.0.0.1:" + port, "listening on 127.0.0.1:" + port, program.address());
    program.stop();
}

void listens_on_7007_by_default() {
    promise("without a port it takes 7007");
    likely("another default", "Run it");
    Program program({}, Program::not_at_all);
    program.close_stdin();
    if (program.wait_for_exit() == 0) return program.expect_line("listening on 127.0.0.1:7007");
    // Another program has that port on this machine: then the failure names it.
    const std::string said = program.error_output();
    expect(said.find("127.0.0.1:7007") != std::string::npos, "the port 7007, or why it cannot be had", shown(said));
}

void a_bad_argument_is_refused_with_the_usage() {
    promise("a bad argument gives one clear line and the usage on stderr, exit code 2 and nothing on stdout");
    likely("the argument is taken by atoi, which takes anything and calls it 0", "Run it");
    const std::vector<Program::Arguments> bad = {{"port"}, {"65536"},  {"-1"},        {"70o7"},
                                                 {""},     {"0", "0"}, {"--nonsense"}};
    for (const Program::Arguments& arguments : bad) {
        Program program(arguments, Program::not_at_all);
        program.close_stdin();  // so that a program that takes it ends too
        const unsigned long code = program.wait_for_exit();
        if (code != 2) {
            fail(Symptom::wrong_exit_code, "exit code 2", "exit code " + std::to_string(code));
        }
        const std::string said = without_carriage_returns(program.error_output());
        const std::string two_lines("([0-9]{2}-[a-z-]+): [^\n]+\nusage: \\1 \\[port\\][^\n]*\n");
        if (matched(said, two_lines).empty()) {
            fail(Symptom::wrong_diagnostics, "`NN-name: what is wrong` and `usage: NN-name [port] ...` on stderr",
                 shown(said));
        }
        if (!program.lines().empty()) {
            fail(Symptom::line_unexpected, "nothing on stdout", shown(program.lines().front()));
        }
    }
}

void a_port_in_use_is_named() {
    promise("a port that is taken ends the program with exit code 1 and one line that names address, call and error");
    likely("the result of bind or listen is not looked at, or its error is taken too late");
    Program first;
    Program second({std::to_string(first.port())}, Program::not_at_all);
    second.close_stdin();
    const unsigned long code = second.wait_for_exit();
    if (code != 1) fail(Symptom::wrong_exit_code, "exit code 1", "exit code " + std::to_string(code));
    const std::string said = without_carriage_returns(second.error_output());
    // WSAEACCES is Windows' answer when the other one has taken the port for itself alone.
    const std::string line("[^\n]*" + first.address() +
                           ": (bind|listen): (WSAEADDRINUSE \\(10048\\)|WSAEACCES \\(10013\\))[^\n]*\n");
    if (matched(said, line).empty()) {
        fail(Symptom::wrong_diagnostics,
             "one line like `cannot listen on " + first.address() + ": bind: WSAEADDRINUSE (10048): ...`", shown(said));
    }
    if (!second.lines().empty()) fail(Symptom::line_unexpected, "nothing on stdout", shown(second.lines().front()));
    first.stop();
}

void stops_when_stdin_ends() {
    promise("when stdin ends it completes every operation, tells the accounts and ends with exit code 0");
    Program program;
    program.stop();
}

void serves_on_after_many_resets(const Serve& serve) {
    promise("clients that reset their connection before they are accepted cost the server nothing");
    likely(
        "an accept that fails is taken for the end of the listener: close that one socket and post the accept again");
    for (const Symptom symptom : {Symptom::line_missing, Symptom::no_bytes}) {
        likely_when(symptom,
                    "the accepts that failed were not posted again; if the tests of one good client fail too, begin "
                    "with those");
    }
    Program program;
    for (int i = 0; i < 200; ++i)
        Client(program.address()).reset();
    serve(program);
    program.stop();
}

void gives_every_handle_back(const Serve& serve_ten) {
    promise("a connection that has ended leaves no handle behind");
    likely("the socket of a connection that ended is not closed on some path");
    for (const Symptom symptom : {Symptom::line_missing, Symptom::no_bytes}) {
        likely_when(symptom, "good clients are not served: begin with the tests of one client");
    }
    Program program;
    for (int i = 0; i < 3; ++i)
        serve_ten(program);  // whatever is made once, is made by now
    const unsigned long before = program.handle_count();
    for (int i = 0; i < 10; ++i)
        serve_ten(program);
    const unsigned long after = program.handle_count();
    expect(before > 0, "a count of the program's handles", "none");
    expect(after < before + 50, "about " + std::to_string(before) + " handles, as before the last 100 clients",
           std::to_string(after) + " handles");
    program.stop();
}

void urgent_bytes_keep_their_place(const Program::Arguments& arguments) {
    promise("a byte that is sent as urgent (MSG_OOB) comes back in its place");
    likely("without SO_OOBINLINE on the accepted socket, urgent bytes are not in the stream that is received");
    Program program(arguments);
    Client client(program.address());
    client.send("ab");
    client.send_urgent('c');
    client.send("d");
    client.expect("abcd");
    client.finish_sending();
    client.expect_end(End::finished);
    program.stop();
}

void survives_a_lack_of_memory(const char* with_failing_new, const Served& served, const Serve& serve,
                               const Program::Arguments& arguments) {
    promise(
        "when an allocation fails, its client is lost and nobody else: the server runs on, and its accounts balance");
    likely(
        "something allocates where nothing may fail: a std::bad_alloc that leaves a noexcept handler ends the program");
    for (const Symptom symptom : {Symptom::no_connection, Symptom::no_bytes, Symptom::line_missing}) {
        likely_when(symptom,
                    "a std::bad_alloc has left a noexcept handler, which ends the program: allocate nothing there");
    }
    if (*with_failing_new == 0) {
        GTEST_SKIP() << "on the strict Windows the kernel would be short of memory too, and Microsoft's debug library "
                        "allocates in constructors that are noexcept";
    }
    constexpr unsigned clients_in_all = 100;
    use_program(with_failing_new);
    const std::string name = "iocp-failing-new-" + std::to_string(::GetCurrentProcessId());
    const HANDLE memory_is_short = ::CreateEventA(nullptr, TRUE, FALSE, name.c_str());
    ::SetEnvironmentVariableA("IOCP_FAILING_NEW", ("7:" + name).c_str());
    Program program(arguments);
    ::SetEnvironmentVariableA("IOCP_FAILING_NEW", nullptr);
    serve(program);

    ::SetEvent(memory_is_short);
    std::vector<Client> clients;
    for (unsigned i = 0; i < clients_in_all; ++i) {
        clients.emplace_back(program.address());
        clients.back().try_send("hello");
        clients.back().finish_sending();
    }
    unsigned count = 0;
    for (Client& client : clients)
        count += served(program, client) ? 1 : 0;
    ::ResetEvent(memory_is_short);
    ::CloseHandle(memory_is_short);
    did("let every seventh allocation fail while they came, and no more");
    expect(count > 0 && count < clients_in_all, "some of 100 clients served and some lost",
           std::to_string(count) + " served");

    serve(program);
    program.stop();
}

bool echoed_or_lost(Program&, Client& client) {
    const std::string bytes = client.expect_any_end();
    if (!bytes.empty() && bytes != "hello") fail(Symptom::wrong_bytes, "`hello`, or nothing", shown(bytes));
    return !bytes.empty();
}

}  // namespace support::contract
