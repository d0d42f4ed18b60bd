#include "tests/stages/06-full-server/full_server.hpp"

namespace full_server {

std::uint64_t count(const std::string& statistics, const std::string& name, Where where) {
    const std::size_t end = statistics.find(" " + name + (name == "post calls" ? "" : ","));
    if (end == std::string::npos)
        fail(Symptom::other, "a statistics line with `N " + name + "`", "`" + statistics + "`", where);
    return std::stoull(statistics.substr(statistics.rfind(' ', end - 1) + 1));
}

std::uint64_t number_before(const std::string& line, const std::string& what, Where where) {
    const std::size_t end = line.find(" " + what);
    if (end == std::string::npos) fail(Symptom::other, "a line with `N " + what + "`", "`" + line + "`", where);
    return std::stoull(line.substr(line.rfind(' ', end - 1) + 1));
}

std::string last_statistics(Program& program, Where where) {
    const unsigned long exit_code = program.wait_for_exit(where);
    if (exit_code != 0) fail(Symptom::wrong_exit_code, "exit code 0", std::to_string(exit_code), where);
    const auto lines = program.lines();
    const std::string last = lines.size() < 2 ? "" : lines[lines.size() - 2];
    expect(last.starts_with("statistics: "), "a statistics line right before the last line", "`" + last + "`", where);
    const std::uint64_t posted = count(last, "operations posted", where);
    if (posted != count(last, "completed", where) || count(last, "pending", where) != 0) {
        fail(Symptom::operations_left, "as many operations completed as posted, and 0 pending", "`" + last + "`",
             where);
    }
    expect(count(last, "connections", where) == 0, "0 connections at the end", "`" + last + "`", where);
    const std::string stopped = "stopped: " + std::to_string(posted) + " operations posted, " + std::to_string(posted) +
                                " completed, 0 pending";
    expect(lines.back() == stopped, "the last line `" + stopped + "`", "`" + lines.back() + "`", where);
    return last;
}

std::string stop(Program& program, Where where) {
    program.stop(where);
    return last_statistics(program, where);
}

Client join(Program& program, ClientOptions options, Where where) {
    Client client(program.address(), options, where);
    program.expect_line("accepted " + client.address(), where);
    return client;
}

Outcome run(const Arguments& arguments, Where where) {
    Program program(arguments, Program::not_at_all, where);
    program.close_stdin();  // with --stop-on-eof: one that starts by mistake ends again
    const unsigned long exit_code = program.wait_for_exit(where);
    std::string errors = program.error_output();
    std::erase(errors, '\r');
    return {exit_code, program.lines(), errors};
}

bool has_ipv6() {
    start_winsock();
    const SOCKET socket = ::WSASocketW(AF_INET6, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_NO_HANDLE_INHERIT);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    const bool bound = ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::closesocket(socket);
    return bound;
}

Stage06FullServer::Stage06FullServer(const char* program) : StageTest("notes/06-full-server.md", program) {
    likely_if_seen("error 0 (0)",
                   "its count came to 0 though nothing had ended it: no receive was started, also not when the "
                   "queue had become short again, or an operation was started without being counted");
    likely_when(Symptom::does_not_stop,
                "somebody's packet is not handled: only the first entry of a batch, or a worker kept the stop "
                "packets of the others; or a connection's count never comes to 0");
}

}  // namespace full_server
