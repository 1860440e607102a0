#include "server/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <csignal>
#include <random>
#include <utility>

#include "server/api_keys.h"
#include "server/ready.h"
#include "server/router.h"
#include "server/tls.h"
#include "upg/version.h"

namespace upg::server {
namespace {

constexpr std::chrono::milliseconds kTick{250};

}  // namespace

struct Server::Impl {
  Impl(ServerOptions with, ModelLoader loader)
      : options(std::move(with)),
        log(options.log),
        tls(make_tls(options.certificate, options.private_key)),
        models(loop, options.host, std::move(loader), metrics, log),
        api{loop, workers, models, metrics, log, options.api},
        router(api, {options.cors_origins, options.public_metrics, options.address.is_loopback()}),
        signals(loop, SIGINT, SIGTERM, SIGHUP),
        tick(loop) {
    router.set_keys(ApiKeys(options.api_keys, options.api_key_file));
    context.limits = options.limits;
    context.handler = [this](const http::ExchangePointer& exchange) { router.handle(exchange); };
    context.admits = [this](std::string_view path, std::string_view key) {
      return router.admits(path, key);
    };
    context.error_body = [this](int status, std::string_view what) {
      metrics.http_answer("none", status);
      return error_json(
          ApiError(status, std::string(what), {}, status == 401 ? "invalid_api_key" : ""));
    };
    std::random_device random;
    context.id_prefix = fmt::format("{:08x}-", random());
    listener.emplace(loop, options.address, context, tls.get());
  }

  // What is under way ends, and everybody hears of it while all they need is still there.
  ~Impl() {
    listener->abort_all();
    workers.join();
    models.stop();
    loop.restart();
    loop.poll();
  }

  void wait_for_signal();
  void on_signal(int signal);
  void begin_drain(std::string_view why);
  void on_tick();

  ServerOptions options;
  boost::asio::io_context loop{1};
  boost::asio::thread_pool workers{1};
  Log log;
  Metrics metrics;
  std::unique_ptr<boost::asio::ssl::context> tls;
  ModelHost models;
  Api api;
  Router router;
  http::ConnectionContext context;
  std::optional<http::Listener> listener;
  boost::asio::signal_set signals;
  boost::asio::steady_timer tick;
  bool announced = false;
  bool draining = false;
  Clock::time_point drain_until = {};
  std::optional<Error> failure;
};

void Server::Impl::wait_for_signal() {
  signals.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    on_signal(signal);
    wait_for_signal();
  });
}

void Server::Impl::on_signal(int signal) {
  if (signal != SIGHUP) {
    if (!draining) return begin_drain(signal == SIGTERM ? "SIGTERM" : "SIGINT");
    drain_until = Clock::now();
    return;
  }
  try {
    router.set_keys(ApiKeys(options.api_keys, options.api_key_file));
    log.info("keys read again", {});
  } catch (const Error& error) {
    log.error("keys kept as they were", {{"error", std::string_view(error.what())}});
  }
}

void Server::Impl::begin_drain(std::string_view why) {
  if (draining) return;
  draining = true;
  router.drain();
  listener->drain();
  drain_until = Clock::now() + options.drain;
  notify_stopping();
  log.info("draining", {{"why", why}, {"seconds", int64_t{options.drain.count()}}});
}

void Server::Impl::on_tick() {
  models.sweep();
  metrics.connections(listener->connections());
  if (!announced && !models.not_ready()) {
    announced = true;
    notify_ready();
    log.info("ready", {{"host", std::string_view(options.address.host)},
                       {"port", int64_t{listener->port()}}});
  }
  if (!draining && models.failure()) {
    failure = models.failure();
    begin_drain(failure->what());
    drain_until = Clock::now();
  }
  if (draining && (Clock::now() >= drain_until || (!listener->busy() && models.idle()))) {
    models.cancel_all();
    listener->abort_all();
    loop.stop();
    return;
  }
  tick.expires_after(kTick);
  tick.async_wait([this](boost::system::error_code error) {
    if (!error) on_tick();
  });
}

Server::Server(ServerOptions options, ModelLoader loader)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(loader))) {}

Server::~Server() = default;

int Server::port() const { return impl_->listener->port(); }

void Server::run() {
  Impl& impl = *impl_;
  std::signal(SIGPIPE, SIG_IGN);
  const ServerOptions& options = impl.options;
  impl.log.info("listening", {{"version", kVersion},
                              {"host", std::string_view(options.address.host)},
                              {"port", int64_t{port()}},
                              {"tls", int64_t{impl.tls != nullptr}},
                              {"keys", int64_t{!impl.router.open()}},
                              {"connections", int64_t{options.limits.connections}},
                              {"queue", int64_t{options.host.scheduler.queue}},
                              {"parallel", int64_t{options.host.scheduler.parallel}},
                              {"body_bytes", static_cast<int64_t>(options.limits.body_bytes)}});
  impl.models.begin();
  impl.wait_for_signal();
  impl.on_tick();
  while (!impl.loop.stopped()) {
    try {
      impl.loop.run();
    } catch (const std::exception& error) {
      // Of one connection or request; the others go on.
      impl.log.error("unexpected", {{"error", std::string_view(error.what())}});
    }
  }
  impl.log.info("stopped", {});
  if (impl.failure) throw *impl.failure;
}

void Server::stop() noexcept {
  boost::asio::post(impl_->loop, [impl = impl_.get()] { impl->begin_drain("stop"); });
}

}  // namespace upg::server
