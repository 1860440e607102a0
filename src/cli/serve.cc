// upg serve: an OpenAI-compatible server.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>

#include "cli/cli.h"
#include "server/model_files.h"
#include "server/server.h"

namespace upg::cli {
namespace {

struct ServeFlags {
  EngineFlags engine;
  server::ServerOptions server;
  std::string models_dir;
  std::string alias;
  std::string log_format = "text";
  std::string log_level = "info";
  int idle_seconds = 300;
  int drain_seconds = 30;
  int timeout_seconds = 0;
  uint64_t most_body_mib = 16;
  bool check = false;
};

// A descriptor a connection, and some for files.
int connections_allowed(int wanted) {
  constexpr rlim_t kOthers = 64;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur <= kOthers) return wanted;
  return static_cast<int>(std::min<rlim_t>(static_cast<rlim_t>(wanted), limit.rlim_cur - kOthers));
}

server::LogLevel log_level(const std::string& name) {
  if (name == "debug") return server::LogLevel::kDebug;
  if (name == "warning") return server::LogLevel::kWarning;
  if (name == "error") return server::LogLevel::kError;
  return server::LogLevel::kInfo;
}

void choose_models(ServeFlags& flags) {
  server::HostOptions& host = flags.server.host;
  if (flags.models_dir.empty() == flags.engine.model.empty()) {
    throw Error(ErrorCode::kUsage, "serve: needed is a model, or --models-dir, not both");
  }
  if (!flags.models_dir.empty()) {
    host.models = server::find_models(flags.models_dir);
    host.on_demand = true;
    return;
  }
  const std::filesystem::path path = flags.engine.model;
  if (!std::filesystem::exists(path)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: there is no such file or folder", path.string()));
  }
  host.models = {{flags.alias.empty() ? server::model_id(path) : flags.alias, path}};
}

void warn_of_open_doors(const server::ServerOptions& options) {
  const bool keys = !options.api_keys.empty() || !options.api_key_file.empty();
  if (!options.address.is_loopback() && !keys) {
    print_note("warning: it listens beyond this machine, and asks for no key (--api-key)");
  }
  const auto& origins = options.cors_origins;
  if (!keys && std::find(origins.begin(), origins.end(), "*") != origins.end()) {
    print_note("warning: any web page may use it, and it asks for no key (--api-key)");
  }
}

void serve(ServeFlags& flags, const Common& common) {
  server::ServerOptions& options = flags.server;
  choose_models(flags);
  options.limits.connections = connections_allowed(options.limits.connections);
  options.limits.body_bytes = flags.most_body_mib << 20;
  options.host.idle = std::chrono::seconds(flags.idle_seconds);
  options.drain = std::chrono::seconds(flags.drain_seconds);
  options.api.request_timeout = std::chrono::seconds(flags.timeout_seconds);
  options.log.json = flags.log_format == "json";
  options.log.level = log_level(flags.log_level);
  flags.engine.load.threads = common.threads;
  options.host.scheduler.chunk = flags.engine.load.chunk;
  warn_of_open_doors(options);
  server::Server server(options, server::engine_loader(flags.engine.load));
  if (flags.check) {
    print_note("the configuration is valid");
    return;
  }
  if (!options.log.json) {
    const bool tls = !options.certificate.empty();
    print_note(fmt::format("chat at {}://{}:{}/   API at /v1", tls ? "https" : "http",
                           options.address.host, server.port()));
  }
  server.run();
}

void add_server_flags(CLI::App* verb, ServeFlags& flags) {
  server::ServerOptions& options = flags.server;
  const std::string http = "Connections";
  verb->add_option("--host", options.address.host, "The address to listen on")
      ->capture_default_str()
      ->group(http);
  verb->add_option("--port", options.address.port, "The port; 0: one that is free")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535))
      ->group(http);
  verb->add_option("--api-key", options.api_keys, "A key that requests must carry (repeatable)")
      ->delimiter(',')
      ->group(http);
  verb->add_option("--api-key-file", options.api_key_file, "Keys, one a line; read again on SIGHUP")
      ->group(http);
  verb->add_option("--ssl-cert-file", options.certificate, "Certificate chain (PEM): TLS")
      ->group(http);
  verb->add_option("--ssl-key-file", options.private_key, "Its key (PEM)")->group(http);
  verb->add_option("--cors-origin", options.cors_origins,
                   "A web origin that may use it (repeatable); *: any")
      ->group(http);
  verb->add_option("--max-connections", options.limits.connections, "Open at the same time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000))
      ->group(http);
  verb->add_option("--max-body-mib", flags.most_body_mib, "MiB of a request")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024))
      ->group(http);
}

void add_work_flags(CLI::App* verb, ServeFlags& flags) {
  server::ServerOptions& options = flags.server;
  server::SchedulerOptions& scheduler = options.host.scheduler;
  const std::string work = "Requests";
  verb->add_option("-p,--parallel", scheduler.parallel, "Requests in a step at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024))
      ->group(work);
  verb->add_option("--queue", scheduler.queue, "With so many waiting no more are taken (429)")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000))
      ->group(work);
  verb->add_option("--step-ms", scheduler.step_milliseconds,
                   "What a step with part of a prompt in it should take")
      ->capture_default_str()
      ->check(CLI::Range(1, 60000))
      ->group(work);
  verb->add_option("--timeout", flags.timeout_seconds, "Seconds a request may take; 0: no limit")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000))
      ->group(work);
  verb->add_option("--drain", flags.drain_seconds, "Seconds for running requests after SIGTERM")
      ->capture_default_str()
      ->check(CLI::Range(0, 86400))
      ->group(work);
}

void add_model_flags(CLI::App* verb, ServeFlags& flags) {
  server::HostOptions& host = flags.server.host;
  const std::string models = "Several models";
  verb->add_option("-a,--alias", flags.alias, "The model's name; else that of its file");
  verb->add_option("--models-dir", flags.models_dir,
                   "A folder of models, loaded when they are asked for")
      ->group(models);
  verb->add_option("--models-max", host.most_loaded, "Loaded at the same time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000))
      ->group(models);
  verb->add_option("--idle", flags.idle_seconds, "Seconds until an idle one is unloaded; 0: never")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000))
      ->group(models);
}

void add_log_flags(CLI::App* verb, ServeFlags& flags) {
  server::ServerOptions& options = flags.server;
  const std::string logs = "Logs and metrics";
  verb->add_option("--log-format", flags.log_format, "text or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json"}))
      ->group(logs);
  verb->add_option("--log-level", flags.log_level, "debug, info, warning or error")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->group(logs);
  verb->add_option("--log-file", options.log.file, "Instead of stderr")->group(logs);
  verb->add_flag("--log-prompts", options.api.log_prompts, "What users write is logged too")
      ->group(logs);
  verb->add_flag("--metrics-public", options.public_metrics, "/metrics without a key")->group(logs);
}

}  // namespace

void add_serve(CLI::App& app, Common& common) {
  const auto flags = std::make_shared<ServeFlags>();
  flags->engine.load.sequences = 4;
  CLI::App* verb = add_verb(app, "serve", "Serve models over an OpenAI-compatible API", common,
                            [flags, &common] { serve(*flags, common); });
  add_engine_flags(verb, flags->engine, common);
  verb->get_option("--model")->required(false);
  verb->add_option("--contexts", flags->engine.load.sequences,
                   "Full contexts that the KV cache has room for; requests share it")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  verb->add_flag("--check", flags->check, "Only say whether the configuration is valid");
  add_server_flags(verb, *flags);
  add_work_flags(verb, *flags);
  add_model_flags(verb, *flags);
  add_log_flags(verb, *flags);
}

}  // namespace upg::cli
