#include "server/http/listener.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <vector>

#include "upg/error.h"

namespace upg::server::http {
namespace {

constexpr std::chrono::milliseconds kSweep{250};
constexpr std::chrono::milliseconds kPause{100};

asio::ip::tcp::endpoint resolve(asio::io_context& loop, const Address& address) {
  error_code error;
  asio::ip::tcp::resolver resolver(loop);
  const auto found = resolver.resolve(address.host, std::to_string(address.port),
                                      asio::ip::tcp::resolver::passive, error);
  if (error || found.empty()) {
    throw Error(ErrorCode::kUsage, fmt::format("--host {}: {}", address.host, error.message()));
  }
  return found.begin()->endpoint();
}

}  // namespace

Listener::Listener(asio::io_context& loop, const Address& address, ConnectionContext& context,
                   asio::ssl::context* tls)
    : context_(context), tls_(tls), acceptor_(loop), sweeper_(loop), pause_(loop) {
  const asio::ip::tcp::endpoint endpoint = resolve(loop, address);
  error_code error;
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    throw Error(ErrorCode::kUsage, fmt::format("cannot listen on {}:{}: {}", address.host,
                                               address.port, error.message()));
  }
  port_ = acceptor_.local_endpoint().port();
  set_date();
  accept();
  sweep();
}

Listener::~Listener() { abort_all(); }

void Listener::accept() {
  if (accepting_ || !acceptor_.is_open()) return;
  accepting_ = true;
  acceptor_.async_accept([this](error_code error, asio::ip::tcp::socket socket) {
    accepting_ = false;
    on_accept(error, std::move(socket));
  });
}

void Listener::on_accept(error_code error, asio::ip::tcp::socket socket) {
  if (!acceptor_.is_open() || error == asio::error::operation_aborted) return;
  if (error) return pause();  // no descriptors, say: those who have one go on
  const auto connection =
      std::make_shared<Connection>(make_byte_stream(std::move(socket), tls_), context_);
  connections_.insert(connection);
  connection->start();
  if (connections() >= context_.limits.connections) return pause();
  accept();
}

void Listener::pause() {
  pause_.expires_after(kPause);
  pause_.async_wait([this](error_code error) {
    if (error) return;
    connections() < context_.limits.connections ? accept() : pause();
  });
}

void Listener::sweep() {
  const Clock::time_point now = Clock::now();
  std::vector<std::shared_ptr<Connection>> all(connections_.begin(), connections_.end());
  for (const auto& connection : all) {
    connection->sweep(now);
    if (context_.draining) connection->close_if_idle();
    if (connection->closed()) connections_.erase(connection);
  }
  set_date();
  sweeper_.expires_after(kSweep);
  sweeper_.async_wait([this](error_code error) {
    if (!error) sweep();
  });
}

void Listener::set_date() {
  context_.date = fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr)));
}

void Listener::drain() {
  context_.draining = true;
  error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
  for (const auto& connection : connections_) connection->close_if_idle();
}

bool Listener::busy() const {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const auto& connection) { return connection->busy(); });
}

void Listener::abort_all() {
  error_code ignored;
  acceptor_.close(ignored);
  sweeper_.cancel();
  pause_.cancel();
  const auto all = std::exchange(connections_, {});
  for (const auto& connection : all) connection->abort();
}

}  // namespace upg::server::http
