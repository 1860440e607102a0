// upg chat: a conversation in the terminal. Ctrl-C stops the answer, at the prompt it leaves.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/report.h"
#include "tokenizer/chat_template.h"

namespace upg::cli {
namespace {

struct ChatFlags {
  EngineFlags engine;
  SamplingFlags sampling;
  std::string system_prompt;
  std::string chat_template;
  std::string prompt;  // the first message
  int max_tokens = -1;
  bool single_turn = false;
};

constexpr const char* kHelp =
    "/reset forgets the conversation, /regenerate answers again, /system TEXT sets the system "
    "prompt, "
    "/exit leaves.\nA line that ends in \\ goes on in the next. Ctrl-C stops an answer.";

// Lines of standard input. Unlike std::getline it comes back when a signal arrives.
class LineReader {
 public:
  // False at the end of the input or at Ctrl-C.
  bool next(std::string& line) {
    while (true) {
      const size_t end = pending_.find('\n');
      if (end != std::string::npos) {
        line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return true;
      }
      if (!fill()) return take_rest(line);
    }
  }

 private:
  bool fill() {
    char buffer[4096];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof(buffer));
    if (got > 0) pending_.append(buffer, static_cast<size_t>(got));
    return got > 0;
  }
  bool take_rest(std::string& line) {
    line = std::exchange(pending_, {});
    return !line.empty() && interrupt_signal == 0;
  }
  std::string pending_;
};

class Chat {
 public:
  Chat(Engine& engine, const ChatFlags& flags) : engine_(engine), flags_(flags) {
    options_.sampling = sampling_options(flags.sampling, engine);
    options_.max_tokens = flags.max_tokens;
    options_.on_prompt = PromptProgress(false);
    sequence_ = engine_.create_sequence();
    reset();
  }
  ~Chat() { engine_.free_sequence(sequence_); }
  Chat(const Chat&) = delete;
  Chat& operator=(const Chat&) = delete;

  void say(std::string message) {
    messages_.push_back({"user", std::move(message)});
    answer();
  }

  // True when the line was a command.
  bool command(std::string_view line) {
    if (line == "/reset") {
      reset();
      print_note("forgotten");
    } else if (line == "/regenerate") {
      regenerate();
    } else if (line.starts_with("/system ")) {
      system_ = line.substr(8);
      reset();
      print_note("system prompt set, conversation forgotten");
    } else if (line == "/help" || line == "/?") {
      print_note(kHelp);
    } else {
      return false;
    }
    return true;
  }

 private:
  void reset() {
    messages_.clear();
    const std::string& system = system_.empty() ? flags_.system_prompt : system_;
    if (!system.empty()) messages_.push_back({"system", system});
  }

  void regenerate() {
    if (messages_.empty() || messages_.back().role != "assistant") {
      print_note("there is no answer yet");
      return;
    }
    messages_.pop_back();
    ++options_.sampling.seed;
    answer();
  }

  void answer() {
    const std::string text = engine_.apply_chat_template(messages_, flags_.chat_template);
    // The template writes the beginning-of-text token itself where the model wants one.
    const std::vector<int32_t> prompt = engine_.encode(text, false);
    GenerateResult result;
    try {
      result = engine_.generate(sequence_, prompt, options_, [](const GeneratedToken& token) {
        print_text(token.text);
        return interrupt_signal == 0;
      });
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUsage) throw;
      messages_.pop_back();  // too long for the context: the conversation goes on without it
      print_note(error.what());
      return;
    }
    print_text("\n");
    const bool stopped = interrupt_signal == SIGINT;
    if (stopped) {
      interrupt_signal = 0;
      print_note("(stopped)");
    }
    if (result.finish == FinishReason::kLength && flags_.max_tokens < 0) {
      print_note("(the context is full; /reset starts anew)");
    }
    messages_.push_back({"assistant", result.text});
    print_speed(result, engine_.info());
  }

  Engine& engine_;
  const ChatFlags& flags_;
  GenerateOptions options_;
  std::vector<ChatMessage> messages_;
  std::string system_;
  SequenceId sequence_ = 0;
};

// One message: lines joined while they end in a backslash.
bool read_message(LineReader& reader, std::string& message) {
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  message.clear();
  std::string line;
  if (terminal) print_text("> ");
  while (reader.next(line)) {
    if (!line.ends_with('\\')) {
      message += line;
      return true;
    }
    message += line.substr(0, line.size() - 1) + "\n";
    if (terminal) print_text(". ");
  }
  return !message.empty();
}

void check_template(const Engine& engine, const ChatFlags& flags) {
  if (!flags.chat_template.empty() || !engine.info().chat_template.empty()) return;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{}: its chat template is not one this upg knows; choose one with "
                          "--chat-template (upg chat --help lists them), or use upg run",
                          base::printable(engine.info().file)));
}

void chat(const ChatFlags& flags, const Common& common) {
  if (common.json) throw Error(ErrorCode::kUsage, "--json: not with chat; use run");
  EngineFlags engine_flags = flags.engine;
  engine_flags.load.on_plan = print_plan;
  const auto engine = load_engine(engine_flags, common);
  check_template(*engine, flags);
  print_model(engine->info());
  Chat conversation(*engine, flags);
  if (!flags.prompt.empty()) conversation.say(flags.prompt);
  if (flags.single_turn && !flags.prompt.empty()) return throw_if_interrupted();
  if (::isatty(STDIN_FILENO) == 1) print_note("/help says what else there is; Ctrl-D leaves.");
  LineReader reader;
  std::string message;
  while (interrupt_signal == 0 && read_message(reader, message)) {
    if (message == "/exit" || message == "/quit") break;
    if (message.empty() || conversation.command(message)) continue;
    conversation.say(message);
    if (flags.single_turn) break;
  }
  // Ctrl-C at the prompt is how people leave; only SIGTERM is an interruption.
  if (interrupt_signal == SIGTERM) throw_if_interrupted();
}

}  // namespace

void add_chat(CLI::App& app, Common& common) {
  const auto flags = std::make_shared<ChatFlags>();
  CLI::App* verb = add_verb(app, "chat", "Talk with the model", common,
                            [flags, &common] { chat(*flags, common); });
  add_engine_flags(verb, flags->engine, common);
  verb->add_option("--system-prompt", flags->system_prompt,
                   "What the model is told first (also -sys)");
  verb->add_option(
      "--chat-template", flags->chat_template,
      "How turns are written: " + tokenizer::chat_template_names() + "; default: the model's own");
  verb->add_option("-p,--prompt", flags->prompt, "The first message");
  verb->add_option("-n,--n-predict,--predict", flags->max_tokens,
                   "Longest answer in tokens; -1: no limit")
      ->capture_default_str()
      ->check(CLI::Range(-1, 1 << 30));
  verb->add_flag("--single-turn", flags->single_turn, "Leave after one answer");
  add_sampling_flags(verb, flags->sampling);
}

}  // namespace upg::cli
