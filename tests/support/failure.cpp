#include "tests/support/failure.hpp"

#include "cmake/todo.hpp"
#include "tests/support/windows.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <mutex>
#include <regex>
#include <string_view>
#include <thread>
#include <vector>

namespace support {
namespace {

struct Step {
    std::string what;
    unsigned times = 1;
};

struct Story {
    std::string note;
    std::string program;
    std::string promise;
    std::string cause;
    std::string section;
    std::map<Symptom, std::string> causes;
    std::vector<std::pair<std::string, std::string>> causes_if_seen;
    std::mutex mutex;
    std::vector<Step> steps;
    std::vector<Witness*> witnesses;
};

Story& story() {
    static Story the_story;
    return the_story;
}

std::string steps_told() {
    const std::lock_guard lock(story().mutex);
    const auto& steps = story().steps;
    constexpr std::size_t most = 10;
    std::string told;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        if (steps.size() > most && i == 3) {  // the beginning and the end tell most
            told += " ... ";
            i = steps.size() - (most - 3);
        } else if (i > 0) {
            told += "; ";
        }
        told += steps[i].what;
        if (steps[i].times > 1) told += " (" + std::to_string(steps[i].times) + " times)";
    }
    return told.empty() ? "nothing yet" : told;
}

// Empty when it is not set.
std::string utf8(std::wstring_view text) {
    std::string result(3 * text.size(), '\0');  // a UTF-16 unit takes three bytes at most
    const int bytes = ::WideCharToMultiByte(CP_UTF8, 0, text.data(), static_cast<int>(text.size()), result.data(),
                                            static_cast<int>(result.size()), nullptr, nullptr);
    result.resize(static_cast<std::size_t>(std::max(bytes, 0)));
    return result;
}

// In UTF-8, whatever letters are in it.
std::string environment(const wchar_t* name) {
    wchar_t value[4096];
    const DWORD length = ::GetEnvironmentVariableW(name, value, 4096);
    return length < 4096 ? utf8({value, length}) : "";
}

struct Advice {
    std::string cause;
    std::string section;
};

Advice advice_for(Symptom symptom, const std::string& saw) {
    Story& now = story();
    const auto seen = [&](const char* text) { return saw.find(text) != std::string::npos; };
    std::string todo;
    if (const std::size_t at = saw.find("TODO: "); at != std::string::npos) {
        todo = saw.substr(at, saw.find_first_of("\"\\", at) - at);
    } else if (const char* own = first_todo) {
        todo = std::string("TODO: ") + own;
    }
    if (!todo.empty()) return {"a body is still to be written, and was called: " + todo, "The contract"};
    if (seen("ERROR_CALL_NOT_IMPLEMENTED")) {
        return {"a body is still a TODO: this error is what stands in for it", "The contract"};
    }
    if (seen("WSA_IO_PENDING (997)")) {
        return {"997, pending, is how AcceptEx, WSARecv and WSASend normally begin; it was taken for a failure",
                "The calls"};
    }
    for (const auto& [text, cause] : now.causes_if_seen) {
        if (seen(text.c_str())) return {cause, now.section};
    }
    if (const auto own = now.causes.find(symptom); own != now.causes.end()) return {own->second, now.section};
    switch (symptom) {
        case Symptom::not_started:
            return {"the program is not built, or IOCP_STAGE_PROGRAM does not name a program", "Run it"};
        case Symptom::no_first_line:
            return {"the line is not flushed (stdout to a pipe is buffered), or set-up hangs before listen()",
                    "Run it"};
        case Symptom::ended_early:
            if (seen("an operation was destroyed while")) {
                return {
                    "a pending operation went away: it was on the stack, its connection ended while another of its "
                    "operations was pending, begin() came after the call, or 997 (pending) was taken for a failure",
                    "What goes wrong"};
            }
            if (seen("exit code 3") || seen("0x40000015") || seen("0xC0000409")) {
                return {
                    "abort(): a checked error (see its stderr) or an exception that left a thread; the completion path "
                    "must not throw",
                    "What goes wrong"};
            }
            if (seen("exit code 0x")) {
                return {
                    "a crash: the memory of a pending operation was freed, or was on the stack. OVERLAPPED, buffer and "
                    "connection must live until the packet has come, also when the call returned 0, and when it said "
                    "997 (pending), which is no failure; where operations are counted, count before the call",
                    "What goes wrong"};
            }
            if (seen("has ended by itself, exit code 0;")) {
                return {"main returned before its stdin had ended", "Run it"};
            }
            return {
                "the start failed (its stderr names the call), or one client's error was taken for the server's own",
                "What goes wrong"};
        case Symptom::no_connection:
            return {
                "nothing listens any more, or the backlog is full because accepts that completed or failed are not "
                "posted again",
                "What goes wrong"};
        case Symptom::does_not_stop:
            return {
                "the count of what is pending never comes to 0: a worker has ended at a failed packet (FALSE), an "
                "operation is never cancelled, begin() is missing before a call, or one was counted twice: after a "
                "call that returned 0 a packet comes too",
                "What goes wrong"};
        case Symptom::wrong_exit_code:
            return {"0 after stdin has ended, 1 for a failed start, 2 for a bad argument, whatever the clients did",
                    "Run it"};
        case Symptom::wrong_diagnostics:
            return {"diagnostics are for stderr: one line that names what failed, and only events are for stdout",
                    "Run it"};
        case Symptom::operations_left:
            if (seen("stopped: ") && seen(" pending") && seen("1844674407370955")) {
                return {
                    "more was completed than posted: begin() is missing, or a start whose packet came was called "
                    "failed",
                    "What goes wrong"};
            }
            if (seen(" posted, 0 completed, ")) {
                return {"no packet is counted as completed: dispatch() must do so, behind the handler",
                        "What goes wrong"};
            }
            return {
                "a start that failed at once was counted as posted (no packet will come), a packet was thrown away "
                "without being counted, or the workers ended while some were in the queue",
                "What goes wrong"};
        default:
            break;
    }
    if (now.cause.empty()) return {"see the note", "What goes wrong"};
    return {now.cause, now.section};
}

// This test's executable is in the folder `tests` of the build. Below the repository's own build/ the path is told from
// there, as the command is typed at the root.
std::string build_folder() {
    wchar_t path[4096];
    std::string folder = utf8({path, ::GetModuleFileNameW(nullptr, path, 4096)});
    std::replace(folder.begin(), folder.end(), '\\', '/');
    folder = folder.substr(0, folder.rfind("/tests/"));
    if (const auto build = folder.rfind("/build/"); build != std::string::npos) return folder.substr(build + 1);
    return on_wine() && folder.starts_with("Z:") ? folder.substr(2) : folder;
}

// The command that runs this one test again. RERUN_COMMAND is the build's: "ctest --preset linux-wine".
std::string rerun_command() {
    std::string command;
    if (const std::string other = environment(L"IOCP_STAGE_PROGRAM"); !other.empty() && on_wine()) {
        command = "IOCP_STAGE_PROGRAM='" + other + "' ";
    }
    if (const std::string seed = environment(L"IOCP_STRICT_SEED"); !seed.empty()) {
        command += "IOCP_STRICT_SEED=" + seed + " ";
    }
#ifdef RERUN_COMMAND
    command += RERUN_COMMAND;
#else
    command += "ctest --test-dir " + build_folder() + " --output-on-failure";
#endif
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    const std::string name = test == nullptr ? "" : std::string(test->test_suite_name()) + "." + test->name();
    // cmd.exe knows no single quotes, and takes ^ for its own outside of double ones.
    return on_wine() ? command + " -R '^" + name + "$'" : command + " -R \"^" + name + "$\"";
}

std::string lines(const std::string& expected, const std::string& saw, const Advice& advice) {
    return "Promise: " + story().promise + "\nDid: " + steps_told() + "\nExpected: " + expected + "\nSaw: " + saw +
           "\nLikely cause: " + advice.cause + "\nRead: " + story().note + ", section \"" + advice.section +
           "\"\nRerun: " + rerun_command();
}

std::atomic<ULONGLONG> test_began{0};

// Ends a test that waits for ever, before CTest's own limit does: CTest would show none of the lines, and leave the
// program behind.
void watch_over_the_test() {
    test_began = ::GetTickCount64();
    static const bool watching = [] {
        std::thread([] {
            while (::GetTickCount64() - test_began < 100'000)
                ::Sleep(500);
            std::string saw = "it waits for something that does not come";
            for (Witness* witness : story().witnesses)
                saw += "; " + witness->testimony();
            const Advice advice = advice_for(Symptom::line_missing, saw);
            std::printf("%s\n", lines("the test to end within 100 s", saw, advice).c_str());
            std::fflush(stdout);
            ::TerminateProcess(::GetCurrentProcess(), 1);  // its job ends the program under test too
        }).detach();
        return true;
    }();
    (void)watching;
}

}  // namespace

bool judges_another_program() { return !environment(L"IOCP_STAGE_PROGRAM").empty(); }

StageTest::StageTest(const char* note, const char* program) {
    Story& now = story();
    const std::lock_guard lock(now.mutex);
    now.note = note;
    now.program = program;
    now.promise.clear();
    now.cause.clear();
    now.section = "What goes wrong";
    now.causes.clear();
    now.causes_if_seen.clear();
    now.steps.clear();
    watch_over_the_test();
}

std::string program_path() {
    const std::string other = environment(L"IOCP_STAGE_PROGRAM");
    const std::string path = other.empty() ? story().program : other;
    return path.starts_with('/') && on_wine() ? "Z:" + path : path;  // Wine shows the host's root as drive Z:
}

void use_program(const char* path) { story().program = path; }

void promise(std::string text) { story().promise = std::move(text); }

void likely(std::string cause, std::string section) {
    story().cause = std::move(cause);
    story().section = std::move(section);
}

void likely_when(Symptom symptom, std::string cause) { story().causes[symptom] = std::move(cause); }

void likely_if_seen(std::string text, std::string cause) {
    story().causes_if_seen.emplace_back(std::move(text), std::move(cause));
}

void did(const std::string& step) {
    const std::lock_guard lock(story().mutex);
    auto& steps = story().steps;
    if (!steps.empty() && steps.back().what == step) {
        ++steps.back().times;
    } else {
        steps.push_back({step});
    }
}

void add_witness(Witness* witness) { story().witnesses.push_back(witness); }
void remove_witness(Witness* witness) { std::erase(story().witnesses, witness); }

[[noreturn]] void fail(Symptom symptom, const std::string& expected, const std::string& saw, Where where) {
    std::string all = saw;
    for (Witness* witness : story().witnesses) {
        std::string how;
        if (witness->ended_early(how)) {  // a dead program explains every other symptom
            if (symptom != Symptom::not_started && symptom != Symptom::wrong_exit_code) symptom = Symptom::ended_early;
            all += "; " + witness->name() + " has ended by itself, " + how;
        }
        all += "; " + witness->testimony();
    }
    const Advice advice = advice_for(symptom, all);
    const std::string text = lines(expected, all, advice);
    const int line = static_cast<int>(where.line());
    ADD_FAILURE_AT(where.file_name(), line) << text;
    // GoogleTest takes this one as already told, and ends the test.
    throw ::testing::AssertionException(
        ::testing::TestPartResult(::testing::TestPartResult::kFatalFailure, where.file_name(), line, text.c_str()));
}

std::string shown(std::string_view bytes, std::size_t limit) {
    const bool cut = bytes.size() > limit;
    std::string text = "\"";
    const auto add = [&](std::string_view part) {
        for (const char byte : part) {
            const auto code = static_cast<unsigned char>(byte);
            char one[8];
            if (byte == '\n') {
                text += "\\n";
            } else {
                std::snprintf(one, sizeof one, code >= ' ' && code <= '~' ? "%c" : "\\x%02X", code);
                text += one;
            }
        }
    };
    if (cut) {
        add(bytes.substr(0, limit / 2));
        text += " ... ";
        add(bytes.substr(bytes.size() - limit / 2));
    } else {
        add(bytes);
    }
    text += '"';
    return cut ? text + " (" + std::to_string(bytes.size()) + " bytes)" : text;
}

std::vector<std::string> matched(const std::string& text, const std::string& pattern) {
    static std::string known;  // a pattern is mostly asked of many lines
    static std::regex expression;
    if (pattern != known) {
        expression = pattern;
        known = pattern;
    }
    std::smatch groups;
    if (!std::regex_match(text, groups, expression)) return {};
    return {groups.begin(), groups.end()};
}

std::string difference(std::string_view expected, std::string_view saw) {
    const auto [here, there] = std::mismatch(expected.begin(), expected.end(), saw.begin(), saw.end());
    const auto at = static_cast<std::size_t>(here - expected.begin());
    return std::to_string(saw.size()) + " bytes; the first " + std::to_string(at) + " are right, then " +
           shown(saw.substr(at, 16)) + " where " + shown(expected.substr(at, 16)) + " should be";
}

unsigned deadline_ms() {
    static const unsigned milliseconds = [] {
        const double value = std::atof(environment(L"IOCP_TEST_SECONDS").c_str());
        return value > 0 ? static_cast<unsigned>(value * 1000) : 20000u;
    }();
    return milliseconds;
}

std::string deadline_text() {
    char text[32];
    std::snprintf(text, sizeof text, "%g s", deadline_ms() / 1000.0);
    return text;
}

}  // namespace support
