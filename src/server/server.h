// `upg serve`: the HTTP server over its models.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/api/api.h"
#include "server/http/listener.h"
#include "server/log.h"
#include "server/model_host.h"

namespace upg::server {

struct ServerOptions {
  http::Address address;
  http::Limits limits;
  std::filesystem::path certificate;  // PEM; TLS when given
  std::filesystem::path private_key;
  std::vector<std::string> api_keys;
  std::filesystem::path api_key_file;
  std::vector<std::string> cors_origins;  // "*": any
  bool public_metrics = false;
  std::chrono::seconds drain{30};
  ApiOptions api;
  LogOptions log;
  HostOptions host;
};

// One at a time in a process, since it takes SIGTERM, SIGINT (drain and leave; at once for a
// second one) and SIGHUP (read the keys' file again).
class Server {
 public:
  // Everything that can be wrong with the options is found here: throws Error. Listens from now on.
  Server(ServerOptions options, ModelLoader loader);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;
  // Until a signal or stop(). Throws Error when the model cannot be loaded, or when its device is
  // lost.
  void run();
  void stop() noexcept;  // from any thread: drain and leave

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace upg::server
