// The server over a model without weights: what HTTP, JSON and the scheduler cost by themselves.
//
//   server_fake PORT [STEP_US]      then, from another core: wrk -t1 -c64 -d10 -s
//   bench/server_short.lua
#include <fmt/format.h>

#include <cstdlib>

#include "server/server.h"
#include "server/testing/fake_model.h"

int main(int argc, char** argv) {
  using namespace upg::server;
  ServerOptions options;
  options.address.port = argc > 1 ? std::atoi(argv[1]) : 8080;
  options.host.models = {{"fake", "fake"}};
  options.host.scheduler.parallel = 256;
  options.host.scheduler.queue = 100000;
  options.log.level = LogLevel::kWarning;
  FakeOptions fake;
  fake.pages = 1 << 16;
  fake.step = std::chrono::microseconds(argc > 2 ? std::atoi(argv[2]) : 0);
  try {
    Server server(options, [&](const auto&) {
      return LoadedModel{std::make_unique<FakeModel>(fake), {}};
    });
    server.run();
  } catch (const upg::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return upg::exit_code(error.code());
  }
  return 0;
}
