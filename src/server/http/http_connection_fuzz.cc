// Any bytes to a connection: it answers each request once, in the error format where it is none,
// and never more often than asked.
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>

#include "server/http/connection.h"

namespace {

namespace http = upg::server::http;
namespace asio = boost::asio;

// Gives out the input in pieces whose sizes are part of it, and takes what is written.
class ScriptedStream : public http::ByteStream {
 public:
  ScriptedStream(asio::io_context& loop, std::string_view input, std::string& output)
      : socket_(loop), input_(input), output_(output) {}

  void handshake(std::function<void(http::error_code)> done) override { done({}); }
  void read_some(asio::mutable_buffer into, http::IoHandler done) override {
    const size_t wanted = input_.empty() ? 0 : 1 + static_cast<uint8_t>(input_.front()) * 7U;
    const size_t count = std::min({wanted, input_.size(), into.size()});
    std::memcpy(into.data(), input_.data(), count);
    input_.remove_prefix(count);
    asio::post(socket_.get_executor(), [done = std::move(done), count] {
      done(count == 0 ? http::error_code(asio::error::eof) : http::error_code(), count);
    });
  }
  void write_all(asio::const_buffer bytes, http::IoHandler done) override {
    output_.append(static_cast<const char*>(bytes.data()), bytes.size());
    asio::post(socket_.get_executor(),
               [done = std::move(done), size = bytes.size()] { done({}, size); });
  }
  asio::ip::tcp::socket& socket() override { return socket_; }

 private:
  asio::ip::tcp::socket socket_;
  std::string_view input_;
  std::string& output_;
};

void check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  asio::io_context loop;
  std::string output;
  size_t requests = 0;
  size_t refused = 0;
  http::ConnectionContext context;
  context.limits.body_bytes = 4096;
  context.handler = [&](const http::ExchangePointer& exchange) {
    ++requests;
    check(!exchange->request().method.empty());
    check(exchange->request().body.size() <= context.limits.body_bytes);
    if (requests % 2 == 0) {
      exchange->begin_stream({});
      exchange->send("part");
      exchange->end_stream();
    } else {
      exchange->respond({});
    }
  };
  context.error_body = [&](int status, std::string_view) {
    ++refused;
    check(status >= 400 && status < 600);
    return std::string("{}");
  };
  auto stream = std::make_unique<ScriptedStream>(
      loop, std::string_view(reinterpret_cast<const char*>(data), size), output);
  const auto connection = std::make_shared<http::Connection>(std::move(stream), context);
  connection->start();
  loop.run();
  size_t answers = 0;
  for (size_t at = 0; (at = output.find("HTTP/1.1 ", at)) != std::string::npos; ++at) {
    if (output.compare(at + 9, 3, "100") != 0) ++answers;
  }
  check(answers <= requests + refused);
  check(refused <= 1);  // nothing is read behind what is no request
  connection->abort();
  return 0;
}
