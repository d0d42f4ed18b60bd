// Exercise 5 of note 06: a store for clients of memcached.
#include "tests/support/client.hpp"
#include "tests/support/failure.hpp"
#include "tests/support/program.hpp"
#include "tests/support/windows.hpp"

#include <string>
#include <vector>

using namespace support;

namespace {

class Stage06Exercise5 : public StageTest {
protected:
    Stage06Exercise5() : StageTest("notes/06-full-server.md", STAGE_PROGRAM) {
        likely_if_seen("--app: kv not in", "applications.cpp has no entry `kv`");
    }
};

constexpr std::size_t mebibyte = 1 << 20;

Program::Arguments kv(const Program::Arguments& more = {}) {
    Program::Arguments arguments = {"0", "--app", "kv", "--stop-on-eof"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}
const std::vector<Program::Arguments> skipping_and_not = {{}, {"--no-skip-on-success"}};

std::string set(const std::string& key, const std::string& value, const std::string& more = "") {
    return "set " + key + " 0 0 " + std::to_string(value.size()) + more + "\r\n" + value + "\r\n";
}
std::string value(const std::string& key, const std::string& bytes, const std::string& flags = "0") {
    return "VALUE " + key + " " + flags + " " + std::to_string(bytes.size()) + "\r\n" + bytes + "\r\n";
}
void ask(Client& client, const std::string& question, const std::string& answer, Where where = Where::current()) {
    client.send(question, where);
    client.expect(answer, where);
}
std::string line(Client& client, Where where = Where::current()) {
    std::string text;
    while (!text.ends_with("\r\n"))
        text += client.receive(1, where);
    return text;
}
void expect_error(const std::string& line, const std::string& start, Where where = Where::current()) {
    expect(line.starts_with(start), "an answer that begins with " + start, shown(line), where);
}
// A server may take what is left of a refused command for another one, which it does not know.
void expect_version(Client& client, Where where = Where::current()) {
    client.send("version\r\n", where);
    std::string text = line(client, where);
    while (text == "ERROR\r\n")
        text = line(client, where);
    expect(text.starts_with("VERSION "), "VERSION, or ERROR and then VERSION", shown(text), where);
}

// ---- the commands ----

TEST_F(Stage06Exercise5, WhatIsSetIsGotByAllAndDeletedForAll) {
    promise("a value comes back as it was set, whatever bytes it has, to any client, until one deletes it");
    likely("a value is read up to a line's end, or a NUL, instead of to its length; or its flags are forgotten");
    Program program(kv());
    {
        Client one(program.address());
        Client two(program.address());
        const std::string key(250, 'k');
        for (const std::string& bytes : {std::string("hello"), std::string(), std::string("a\r\nEND\r\n"),
                                         std::string("\r\n"), all_bytes(), numbered_bytes(mebibyte)}) {
            ask(one, set(key, bytes), "STORED\r\n");
            ask(two, "get " + key + "\r\n", value(key, bytes) + "END\r\n");
        }
        ask(one, "set a 4294967295 0 1\r\na\r\n", "STORED\r\n");
        ask(one, "set c 7 0 1\r\nc\r\n", "STORED\r\n");
        ask(two, "get c b a c\r\n",
            value("c", "c", "7") + value("a", "a", "4294967295") + value("c", "c", "7") + "END\r\n");
        ask(two, "delete c\r\n", "DELETED\r\n");
        ask(one, "delete c\r\n", "NOT_FOUND\r\n");
        ask(one, "get c\r\n", "END\r\n");
        expect_version(one);
    }
    program.stop();
}

TEST_F(Stage06Exercise5, ErrorsAreToldInTheWordsOfTheProtocol) {
    promise("what is wrong is answered with ERROR, CLIENT_ERROR or SERVER_ERROR, and the next command is served");
    likely("a length or a key is not checked; or the block of a refused set is taken for commands");
    Program program(kv());
    {
        Client client(program.address());
        for (const std::string wrong : {"", "bogus", "SET a 0 0 1", "gett a"})
            ask(client, wrong + "\r\n", "ERROR\r\n");
        const std::string key(251, 'k');
        for (const std::string& wrong :
             {"get " + key, "delete " + key, std::string("get a\x01z"), std::string("get a\tz"),
              std::string("set a x 0 1"), std::string("set a 0 x 1"), std::string("set a 0 0 1x")}) {
            client.send(wrong + "\r\n");
            expect_error(line(client), "CLIENT_ERROR ");
            expect_version(client);
        }
        client.send(set(key, "a"));
        expect_error(line(client), "CLIENT_ERROR ");
        expect_version(client);
        client.send("set a 0 0 3\r\nabcde");
        expect_error(line(client), "CLIENT_ERROR bad data chunk\r\n");
        expect_version(client);
        // Its block must go by: "version" is answered next.
        client.send(set("a", std::string(mebibyte + 1, 'a')) + "version\r\n");
        expect_error(line(client), "SERVER_ERROR object too large for cache\r\n");
        expect_error(line(client), "VERSION ");
        ask(client, "get a\r\n", "END\r\n");
        client.send("set a 0 0 -1\r\n");
        expect_error(line(client), "CLIENT_ERROR ");
        for (const std::string length : {"2147483648", "4294967296", "99999999999999999999"}) {
            Client other(program.address());  // whose server may wait for such a block
            other.send("set a 0 0 " + length + "\r\n");
            const std::string answer = line(other);
            expect(answer.starts_with("CLIENT_ERROR ") || answer.starts_with("SERVER_ERROR "),
                   "CLIENT_ERROR or SERVER_ERROR", shown(answer));
        }
        expect_version(client);
    }
    program.stop();
}

TEST_F(Stage06Exercise5, NoreplyIsNotAnswered) {
    promise("a set or a delete with noreply is done and not answered");
    likely("the word noreply is not looked for; or it is still in force for the next command");
    Program program(kv());
    {
        Client client(program.address());
        ask(client, set("a", "one", " noreply") + "get a\r\n", value("a", "one") + "END\r\n");
        ask(client, "delete a noreply\r\nget a\r\n", "END\r\n");
        ask(client, "delete a noreply\r\ndelete a\r\n", "NOT_FOUND\r\n");
        ask(client, set("a", "two", " noreply") + set("a", "three"), "STORED\r\n");
    }
    program.stop();
}

TEST_F(Stage06Exercise5, CommandsThatComeTogetherOrInPiecesAreAnsweredInOrder) {
    promise("many commands in one block are all answered, in order; and so they are when each byte comes by itself");
    likely("half a line, or half a block, is not kept until the rest comes; or what follows a line is thrown away");
    std::string commands;
    std::string answers;
    for (const std::string bytes : {"one", "a\r\nb", ""}) {
        commands += set("a", bytes) + "get a\r\nversion\nget a b a\ndelete a\r\n";
        answers += "STORED\r\n" + value("a", bytes) + "END\r\nVERSION " + value("a", bytes) + value("a", bytes) +
                   "END\r\nDELETED\r\n";
    }
    Program program(kv());
    {
        Client client(program.address());
        client.send("version\r\n");
        const std::string version = line(client);
        for (std::size_t at = 0; (at = answers.find("VERSION ", at)) != std::string::npos; at += version.size())
            answers.replace(at, 8, version);
        ask(client, commands, answers);
        std::string many;
        std::string all_answers;
        for (int i = 0; i < 1000; ++i) {
            many += commands;
            all_answers += answers;
        }
        const std::string came = client.exchange(many, all_answers.size());
        if (came != all_answers) fail(Symptom::wrong_bytes, "a thousand times the same", difference(all_answers, came));
        for (const char byte : commands) {
            client.send(std::string(1, byte));
            ::Sleep(1);
        }
        client.expect(answers);
    }
    program.stop();
}

// ---- the ends ----

TEST_F(Stage06Exercise5, AClientThatHasFinishedGetsAllItsAnswers) {
    promise(
        "a client that finishes sending gets the answers to all it has sent, then FIN; half a command is forgotten");
    likely("the client's end is taken for its going; or the rest of a get is lost when the client's end comes first");
    const std::string bytes = numbered_bytes(mebibyte);
    for (const Program::Arguments& mode : skipping_and_not) {
        Program program(kv(mode));
        {
            Client client(program.address());
            client.send(set("a", bytes) + "get a a a a a a a a\r\nset b 0 0 5\r\nhel");
            client.finish_sending();
            client.expect("STORED\r\n");
            for (int i = 0; i < 8; ++i)
                client.expect(value("a", bytes));
            const std::string rest = client.expect_end(End::finished);
            expect(rest == "END\r\n", "END and FIN", shown(rest));
            Client other(program.address());
            ask(other, "get b\r\n", "END\r\n");
        }
        program.stop();
    }
}

TEST_F(Stage06Exercise5, QuitIsAnsweredWithTheEnd) {
    promise("quit ends the connection behind the answers before it; what comes behind quit is not done");
    likely("the connection is dropped with answers in its queue; or commands behind quit are still obeyed");
    Program program(kv());
    {
        Client client(program.address());
        const std::string bytes = numbered_bytes(mebibyte);
        client.send(set("a", bytes) + "get a\r\nquit\r\ndelete a\r\n");
        client.expect("STORED\r\n" + value("a", bytes) + "END\r\n");
        const std::string rest = client.expect_end(End::finished);
        expect(rest.empty(), "FIN and nothing else", shown(rest));
        Client other(program.address());
        ask(other, "delete a\r\n", "DELETED\r\n");
    }
    program.stop();
}

// ---- the limits ----

// A number from the line that --stats prints each second, such as `in 1.00 s: ... 123 bytes queued, 456 in buffers`.
std::uint64_t number_before(const std::string& line, const std::string& what) {
    const std::size_t end = line.find(" " + what);
    if (end == std::string::npos) fail(Symptom::other, "a line with `N " + what + "`", "`" + line + "`");
    return std::stoull(line.substr(line.rfind(' ', end - 1) + 1));
}

TEST_F(Stage06Exercise5, ManyLargeValuesWaitForTheirReader) {
    promise(
        "a get of a hundred large values reaches a slow reader whole, with no more than --send-queue and one value "
        "queued");
    likely(
        "is_full() is not asked between two values of one line; or the rest of the line is forgotten when it is full");
    likely_when(Symptom::no_bytes, "all bytes of the line are used, so nothing is offered again when there is room");
    constexpr int times = 100;
    const std::string bytes = numbered_bytes(mebibyte);
    for (const Program::Arguments& mode : skipping_and_not) {
        Program::Arguments arguments = kv({"--send-queue", "131072", "--stats", "1"});
        arguments.insert(arguments.end(), mode.begin(), mode.end());
        Program program(arguments);
        {
            Client other(program.address());
            Client slow(program.address(), {.receive_buffer = 65536});
            ask(other, set("large", bytes), "STORED\r\n");
            std::string get = "get";
            for (int i = 0; i < times; ++i)
                get += " large";
            slow.send(get + "\r\nversion\r\n");
            program.expect_lines(3, "in ");
            ask(other, "get large\r\n", value("large", bytes) + "END\r\n");
            for (int i = 0; i < times; ++i)
                slow.expect(value("large", bytes));
            slow.expect("END\r\nVERSION ");
        }
        // The other client's value may wait too, and buffers are not all full.
        constexpr std::size_t bound = 2 * (131072 + mebibyte) + 8 * 65536;
        for (const std::string& line : program.lines_starting("in ")) {
            expect(number_before(line, "bytes queued") <= bound && number_before(line, "in buffers") <= bound,
                   "at most " + std::to_string(bound) + " bytes queued, and in buffers", "`" + line + "`");
        }
        program.stop();
    }
}

TEST_F(Stage06Exercise5, AValueThatIsBeingSentOutlivesItsDeletion) {
    promise("a value that another client deletes while it is being sent still arrives whole");
    likely("what is queued refers to the store's bytes, and nothing keeps them");
    Program program(kv());
    {
        Client slow(program.address(), {.receive_buffer = 8192});
        Client other(program.address());
        const std::string bytes = numbered_bytes(mebibyte);
        ask(other, set("a", bytes), "STORED\r\n");
        slow.send("get a a a a a a a a\r\n");
        const std::string first = value("a", bytes);
        slow.expect(first.substr(0, 1000));
        ask(other, "delete a\r\n", "DELETED\r\n");
        ask(other, set("a", std::string(mebibyte, 'x')), "STORED\r\n");
        slow.expect(first.substr(1000));
        // The others are of the time when it is their turn.
        std::string next = line(slow);
        while (next != "END\r\n") {
            const std::string rest = slow.receive(mebibyte + 2);
            expect(rest == bytes + "\r\n" || rest == std::string(mebibyte, 'x') + "\r\n",
                   "the old value or the new one", difference(bytes, rest));
            next = line(slow);
        }
    }
    program.stop();
}

TEST_F(Stage06Exercise5, TheStoreIsBounded) {
    promise("beyond 64 MiB a set is refused, its block goes by, and there is room again when something is deleted");
    likely("what is replaced or deleted is still counted; or nothing is");
    Program program(kv());
    {
        Client client(program.address());
        const std::string bytes(mebibyte, 'x');
        for (int i = 0; i < 20; ++i) {
            ask(client, set("same", bytes), "STORED\r\n");
            if (i % 2 == 0) ask(client, "delete same\r\n", "DELETED\r\n");
        }
        int stored = 1;
        std::string answer = "STORED\r\n";
        for (; stored < 100 && answer == "STORED\r\n"; ++stored) {
            client.send(set(std::to_string(stored), bytes));
            answer = line(client);
        }
        expect_error(answer, "SERVER_ERROR out of memory storing object\r\n");
        expect(stored > 50 && stored <= 65, "50 to 64 MiB to be stored", std::to_string(stored - 1));
        ask(client, "delete same\r\n", "DELETED\r\n");
        ask(client, set("new", bytes), "STORED\r\n");
    }
    program.stop();
}

TEST_F(Stage06Exercise5, ALineMayBeLongButNotEndless) {
    promise("a get of a thousand keys is answered; a line that does not end is answered with CLIENT_ERROR and FIN");
    likely("the line is kept without a bound; or the bound is smaller than a line of a thousand keys");
    Program program(kv());
    {
        Client client(program.address());
        std::string get = "get";
        for (int i = 0; i < 1000; ++i)
            get += " key-" + std::to_string(i);
        ask(client, set("key-999", "last"), "STORED\r\n");
        ask(client, get + "\r\n", value("key-999", "last") + "END\r\n");
        (void)client.try_send("get " + std::string(mebibyte, 'k'));
        client.finish_sending();
        expect_error(client.expect_end(End::finished), "CLIENT_ERROR ");
    }
    program.stop();
}

TEST_F(Stage06Exercise5, ClientsOfTheSameKeysGetWholeValues) {
    promise("clients that set, get and delete the same keys at the same time get one whole value or none");
    likely("the store is used without its lock");
    likely_when(Symptom::ended_early, "the store is used without its lock");
    Program program(kv({"--workers", "4"}));
    {
        // Many commands and few answers: all clients have sent all before one of them reads.
        constexpr std::size_t rounds = 10'000;
        constexpr std::size_t gets = rounds / 10;
        std::vector<Client> clients;
        for (int i = 0; i < 8; ++i)
            clients.emplace_back(program.address());
        for (std::size_t i = 0; i < clients.size(); ++i) {
            const std::string mine(10 + i, static_cast<char>('a' + i));
            std::string commands;
            for (std::size_t n = 0; n < rounds; ++n) {
                const std::string key = std::to_string(n % 9);
                commands += set(key, mine, " noreply");
                if (n % 10 == 0) commands += "get 0\r\n";
                if (n % 2 == 0) commands += "delete " + key + " noreply\r\n";
            }
            clients[i].send(commands);
            clients[i].finish_sending();
        }
        for (Client& client : clients) {
            const std::string answers = client.expect_end(End::finished);
            std::size_t ends = 0;
            for (std::size_t at = 0; at < answers.size();) {
                std::string answer = "END\r\n";
                if (answers.compare(at, 10, "VALUE 0 0 ") == 0) {
                    const std::size_t length = std::stoul(answers.substr(at + 10, 4));
                    answer = value("0", std::string(length, static_cast<char>('a' + length - 10)));
                } else {
                    ++ends;
                }
                const std::string came = answers.substr(at, answer.size());
                if (came != answer) fail(Symptom::wrong_bytes, shown(answer), shown(came));
                at += answer.size();
            }
            expect(ends == gets, std::to_string(gets) + " times END", std::to_string(ends));
        }
    }
    program.stop();
}

}  // namespace
