#ifdef __linux__
#include "tests/support/process.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

namespace support {
namespace {

// Both ends of a pipe, the parent's and the child's.
struct Pipe {
    int ours = -1;
    int theirs = -1;

    bool make(bool we_read) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return false;
        ours = ends[we_read ? 0 : 1];
        theirs = ends[we_read ? 1 : 0];
        ::fcntl(ours, F_SETPIPE_SZ, 1 << 20);  // a test can write all its lines before the program reads one
        return true;
    }
    static void close(int& end) {
        if (end >= 0) ::close(std::exchange(end, -1));
    }
    ~Pipe() {
        close(ours);
        close(theirs);
    }
};

std::size_t read(const Pipe& pipe, char* buffer, std::size_t size) {
    const ssize_t bytes = ::read(pipe.ours, buffer, size);
    return bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

}  // namespace

struct Process::State {
    Pipe in;
    Pipe out;
    Pipe error;
    bool started = false;
    pid_t child = 0;  // 0: none, or one that has ended
    unsigned long code = 0;
};

Process::Process() : state_(std::make_unique<State>()) {}
Process::~Process() {
    if (state_->child == 0) return;
    kill();
    (void)ends_within(10000);
}

std::string Process::start(const std::string& path, const std::vector<std::string>& arguments) {
    ::signal(SIGPIPE, SIG_IGN);  // for whoever writes to a program that has ended
    State& state = *state_;
    if (!state.in.make(false) || !state.out.make(true) || !state.error.make(true)) {
        return std::string("pipe2: ") + std::strerror(errno);
    }
    if (::access(path.c_str(), X_OK) != 0) return std::strerror(errno);
    std::vector<char*> words{const_cast<char*>(path.c_str())};
    for (const std::string& argument : arguments)
        words.push_back(const_cast<char*>(argument.c_str()));
    words.push_back(nullptr);
    const pid_t child = ::fork();
    if (child < 0) return std::string("fork: ") + std::strerror(errno);
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::signal(SIGPIPE, SIG_DFL);
        ::dup2(state.in.theirs, STDIN_FILENO);
        ::dup2(state.out.theirs, STDOUT_FILENO);
        ::dup2(state.error.theirs, STDERR_FILENO);
        ::execv(path.c_str(), words.data());
        ::_exit(127);
    }
    state.child = child;
    state.started = true;
    for (Pipe* pipe : {&state.in, &state.out, &state.error})
        Pipe::close(pipe->theirs);
    return "";
}

std::size_t Process::read_output(char* buffer, std::size_t size) { return read(state_->out, buffer, size); }
std::size_t Process::read_errors(char* buffer, std::size_t size) { return read(state_->error, buffer, size); }

void Process::write_input(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(state_->in.ours, bytes.data(), bytes.size());
        if (written <= 0) return;
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}
void Process::close_input() { Pipe::close(state_->in.ours); }

bool Process::ends_within(unsigned milliseconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    while (state_->child != 0) {
        int status = 0;
        if (::waitpid(state_->child, &status, WNOHANG) == state_->child) {
            state_->child = 0;
            state_->code = static_cast<unsigned long>(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        } else if (std::chrono::steady_clock::now() >= end) {
            return false;
        } else {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    return state_->started;
}

unsigned long Process::exit_code() const { return state_->code; }

void Process::kill() { ::kill(state_->child, SIGKILL); }

unsigned long Process::handle_count() const {
    unsigned long count = 0;
    const std::string folder = "/proc/" + std::to_string(state_->child) + "/fd";
    if (DIR* const open = ::opendir(folder.c_str())) {
        while (::readdir(open) != nullptr)
            ++count;
        ::closedir(open);
    }
    return count;
}

}  // namespace support
#endif
