#include "own_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "upg/error.h"

namespace upg::bench {
namespace {

constexpr const char* kProgram = "/proc/self/exe";

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::kIo, fmt::format("benchmarks: a process of its own: {}", what));
}

// Its standard output goes to `output`, and it has no input.
pid_t start(std::vector<std::string>& arguments, const int (&output)[2]) {
  std::vector<char*> words;
  for (std::string& word : arguments) words.push_back(word.data());
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  pid_t process = 0;
  const int status = posix_spawn(&process, kProgram, &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(output[1]);
  if (status == 0) return process;
  ::close(output[0]);
  fail(std::strerror(status));
}

std::string read_all(int file) {
  std::string text;
  char buffer[256];
  for (ssize_t count = 0; (count = ::read(file, buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(count));
  }
  ::close(file);
  return text;
}

}  // namespace

double ask_own_process(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), kProgram);
  int output[2];
  if (::pipe2(output, O_CLOEXEC) != 0) fail(std::strerror(errno));
  const pid_t process = start(arguments, output);
  const std::string text = read_all(output[0]);
  int status = 0;
  if (::waitpid(process, &status, 0) != process || status != 0) {
    fail(fmt::format("found status {}, allowed is 0", status));
  }
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (end == text.c_str()) fail(fmt::format("found \"{}\", allowed is a number", text));
  return number;
}

}  // namespace upg::bench
