// Stage 06 from outside: the stop.
#include "tests/stages/06-full-server/full_server.hpp"

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace full_server;

TEST_F(Stage06FullServer, StopSendsWhatIsQueuedThenSaysItsEnd) {
    promise("at the stop a client gets everything that the server has taken from it, then FIN");
    likely("the queue is thrown away at the stop: first send it, then shutdown(SD_SEND)");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--send-queue", "67108864", "--stats", "1", "--drain", "60"}));
        Client client = join(program, {.receive_buffer = 8192});
        const std::string message = numbered_bytes(24 * mebibyte);
        client.send(message);
        program.expect_line_like("statistics: .*, " + std::to_string(message.size()) + " bytes received, .*");
        program.close_stdin();
        const std::string came = client.receive(message.size());
        if (came != message)
            fail(Symptom::wrong_bytes, "the 24 MiB that the server has taken", difference(message, came));
        client.expect_end(End::finished);
        client.finish_sending();
        program.expect_line("closed " + client.address() + ": the server stops");
        last_statistics(program);
    }
}

// Whether the system refuses a connection to this port.
bool is_refused(std::uint16_t port) {
    const SOCKET socket = ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_NO_HANDLE_INHERIT);
    u_long without_waiting = 1;
    ::ioctlsocket(socket, FIONBIO, &without_waiting);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int error = 0;
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        error = ::WSAGetLastError();
    }
    if (error == WSAEWOULDBLOCK) {
        fd_set done;
        FD_ZERO(&done);
        FD_SET(socket, &done);
        fd_set failed = done;
        timeval limit{5, 0};  // Windows sends SYN again after an RST, and gives up after about 2 s
        ::select(0, nullptr, &done, &failed, &limit);
        int length = sizeof error;
        ::getsockopt(socket, SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&error), &length);
    }
    ::closesocket(socket);
    return error == WSAECONNREFUSED;
}

TEST_F(Stage06FullServer, WhoComesWhileTheServerStopsIsRefusedAtOnce) {
    promise("at the stop the listening socket is closed: while the last clients finish, newcomers are refused");
    likely("the accepts are cancelled, but the socket still listens: the backlog connects clients whom nobody serves");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--drain", "60"}));
        {
            Client client = join(program);
            echo(client, "hello");
            program.close_stdin();
            program.expect_line("stopping: clients have 60 s to finish; a second Ctrl+C ends it at once");
            wait_until([&] { return is_refused(program.port()); }, "a newcomer to be refused");
            client.expect_end(End::finished);
            expect(program.running(), "the server to wait for its client's end", "it has ended");
        }
        last_statistics(program);
    }
}

TEST_F(Stage06FullServer, ASuccessorServesWhileTheServerStops) {
    promise("while the last clients of a server that stops finish, another one serves on the same port");
    likely("the listening socket is still open");
    if (!on_wine()) GTEST_SKIP() << "Windows may refuse SO_EXCLUSIVEADDRUSE while a connection of the port is open";
    Program first(with({"--drain", "60"}));
    Client client = join(first);
    first.close_stdin();
    wait_until([&] { return is_refused(first.port()); }, "a newcomer to be refused");
    Program second({std::to_string(first.port()), "--stop-on-eof"});
    {
        Client newcomer(second.address());
        echo(newcomer, "hello");
    }
    expect(first.running(), "the first server to wait for its client's end", "it has ended");
    client.finish_sending();
    client.expect_end(End::finished);
    last_statistics(first);
    stop(second);
}

TEST_F(Stage06FullServer, StopEndsAllClientsAndTakesNoNewOne) {
    promise("at the stop every client gets FIN, and nobody new is served");
    likely("the listener is still open, or a connection is forgotten in the list of those to be ended");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--drain", "60"}));
        std::vector<Client> clients;
        for (int i = 0; i < 200; ++i)
            clients.emplace_back(program.address());
        for (Client& client : clients)
            echo(client, "hello");
        program.close_stdin();
        for (Client& client : clients) {
            client.expect_end(End::finished);
            client.finish_sending();
        }
        clients.clear();
        const std::string last = last_statistics(program);
        expect(count(last, "accepted") == 200 && count(last, "dropped") == 0, "200 accepted, 0 dropped",
               "`" + last + "`");
    }
}

TEST_F(Stage06FullServer, StopWaitsNoLongerThanTheDeadline) {
    promise("clients that never end, that never read, or that stream on cannot hold the server past --drain");
    likely("the stop waits for the client's FIN for ever, or nobody cancels what is pending after the deadline");
    likely_when(Symptom::does_not_stop, "after the deadline CancelIoEx must end every operation of every connection");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--drain", "1"}));
        Client quiet = join(program);
        echo(quiet, "hello");
        Client deaf = join(program, {.receive_buffer = 8192});
        deaf.send_until_stuck(96 * mebibyte);
        Flood flood(program);
        flood.expect_progress(mebibyte);
        stop(program);
        program.expect_line("dropped " + quiet.address() + ": not finished in time");
        program.expect_line_starting("dropped " + deaf.address() + ": not finished in time");
        quiet.expect_any_end();
    }
}

TEST_F(Stage06FullServer, StopWaitsNoLongerForAClientThatHasFinishedAndDoesNotRead) {
    promise(
        "at the stop a client that has sent its end and takes nothing has --drain seconds too, and is then dropped");
    likely("only connections that were open at the stop get a deadline: this one had begun to end by itself");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--send-queue", "67108864", "--drain", "1", "--stats", "1"}));
        Client client = join(program, {.receive_buffer = 8192});
        const std::size_t size = 24 * mebibyte;
        client.send(std::string(size, 'x'));
        client.finish_sending();
        program.expect_line_like("statistics: .*, " + std::to_string(size) + " bytes received, .*");
        program.close_stdin();
        program.expect_line("dropped " + client.address() + ": not finished in time");
        last_statistics(program);
    }
}

TEST_F(Stage06FullServer, StopWhileClientsComeAndGo) {
    promise("a stop in the middle of connects, echoes and resets loses no operation");
    likely("an operation is started after the list of connections was gone through, or counted after its completion");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--drain", "1", "--accepts", "4"}));
        std::atomic<bool> ending{false};
        std::atomic<unsigned> served{0};
        const std::uint16_t port = program.port();
        std::vector<std::thread> threads;
        for (unsigned number = 0; number < 3; ++number) {
            threads.emplace_back([&, number] {
                while (!ending) {
                    const SOCKET socket =
                        ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED);
                    const DWORD patience = 2000;
                    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&patience),
                                 sizeof patience);
                    sockaddr_in address{};
                    address.sin_family = AF_INET;
                    address.sin_port = htons(port);
                    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
                    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
                        char byte = 'x';
                        ::send(socket, &byte, 1, 0);
                        if (number != 0 && ::recv(socket, &byte, 1, 0) == 1) ++served;
                        const linger at_once{1, 0};
                        if (number != 2) {
                            ::setsockopt(socket, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once),
                                         sizeof at_once);
                        }
                    }
                    ::closesocket(socket);
                }
            });
        }
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(deadline_ms());
        while (served < 200 && std::chrono::steady_clock::now() < deadline)
            ::Sleep(1);
        const unsigned before_the_stop = served;
        try {
            stop(program);
        } catch (...) {  // already reported; the threads must go before the test does
            ending = true;
            for (std::thread& thread : threads)
                thread.join();
            throw;
        }
        ending = true;
        for (std::thread& thread : threads)
            thread.join();
        expect(before_the_stop >= 200, "200 clients served before the stop", std::to_string(before_the_stop));
    }
}

}  // namespace
