#include "server/testing/test_client.h"

#include <fmt/format.h>
#include <poll.h>

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>

namespace upg::server {
namespace {

namespace asio = boost::asio;
constexpr int kPatience = 20000;  // ms

ServerOptions with_defaults(ServerOptions options) {
  options.address.port = 0;
  options.log.level = LogLevel::kError;
  if (options.host.models.empty()) options.host.models = {{"fake", "fake"}};
  return options;
}

}  // namespace

TestServer::TestServer(ServerOptions options, const FakeOptions& fake) {
  server_ = std::make_unique<Server>(with_defaults(std::move(options)), [this, fake](const auto&) {
    auto model = std::make_unique<FakeModel>(fake);
    model_ = model.get();
    return LoadedModel{std::move(model), {}};
  });
  port_ = server_->port();
  thread_ = std::thread([this] { server_->run(); });
  while (ask(port_, "GET", "/health").status != 200) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void TestServer::join() {
  if (thread_.joinable()) thread_.join();
}

TestServer::~TestServer() {
  server_->stop();
  join();
}

TestClient::TestClient(int port) : socket_(loop_) {
  socket_.connect({asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)});
}

void TestClient::send(std::string_view bytes) {
  boost::system::error_code ignored;  // the server may have closed already
  asio::write(socket_, asio::buffer(bytes.data(), bytes.size()), ignored);
}

bool TestClient::more() {
  const std::string part = read_some();
  in_ += part;
  return !part.empty();
}

std::string TestClient::read_some() {
  pollfd ready{socket_.native_handle(), POLLIN, 0};
  if (::poll(&ready, 1, kPatience) != 1) return {};
  std::string part(65536, '\0');
  boost::system::error_code error;
  part.resize(socket_.read_some(asio::buffer(part), error));
  return part;
}

Answer TestClient::read_answer(bool of_head) {
  Answer answer;
  size_t end = std::string::npos;
  while ((end = in_.find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return answer;
  }
  answer.head = in_.substr(0, end + 2);
  in_.erase(0, end + 4);
  answer.status = std::stoi(answer.head.substr(9, 3));
  if (answer.head.find("Transfer-Encoding: chunked") != std::string::npos) {
    while (true) {
      size_t line = std::string::npos;
      while ((line = in_.find("\r\n")) == std::string::npos) {
        if (!more()) return answer;
      }
      const size_t size = std::stoul(in_.substr(0, line), nullptr, 16);
      while (in_.size() < line + 2 + size + 2) {
        if (!more()) return answer;
      }
      answer.body += in_.substr(line + 2, size);
      in_.erase(0, line + 2 + size + 2);
      if (size == 0) break;
    }
  } else if (const size_t at = answer.head.find("Content-Length: ");
             at != std::string::npos && !of_head) {
    const size_t size = std::stoul(answer.head.substr(at + 16));
    while (in_.size() < size) {
      if (!more()) return answer;
    }
    answer.body = in_.substr(0, size);
    in_.erase(0, size);
  }
  answer.complete = true;
  return answer;
}

bool TestClient::closed_by_server() { return in_.empty() && read_some().empty(); }

void TestClient::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void TestClient::shut_down() {
  boost::system::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
}

void TestClient::reset() {
  socket_.set_option(asio::socket_base::linger(true, 0));
  close();
}

std::string request_text(std::string_view method, std::string_view path, std::string_view body,
                         std::string_view headers) {
  std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n{}", method, path, headers);
  if (!body.empty()) {
    text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  }
  return text + "\r\n" + std::string(body);
}

Answer ask(int port, std::string_view method, std::string_view path, std::string_view body,
           std::string_view headers) {
  TestClient client(port);
  client.send(request_text(method, path, body, headers));
  return client.read_answer(method == "HEAD");
}

}  // namespace upg::server
