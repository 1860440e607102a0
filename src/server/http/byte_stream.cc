#include "server/http/byte_stream.h"

#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace upg::server::http {
namespace {

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}
  void handshake(std::function<void(error_code)> done) override { done({}); }
  void read_some(asio::mutable_buffer into, IoHandler done) override {
    socket_.async_read_some(into, std::move(done));
  }
  void write_all(asio::const_buffer bytes, IoHandler done) override {
    asio::async_write(socket_, bytes, std::move(done));
  }
  asio::ip::tcp::socket& socket() override { return socket_; }

 private:
  asio::ip::tcp::socket socket_;
};

class TlsStream : public ByteStream {
 public:
  TlsStream(asio::ip::tcp::socket socket, asio::ssl::context& tls)
      : stream_(std::move(socket), tls) {}
  void handshake(std::function<void(error_code)> done) override {
    stream_.async_handshake(asio::ssl::stream_base::server, std::move(done));
  }
  void read_some(asio::mutable_buffer into, IoHandler done) override {
    stream_.async_read_some(into, std::move(done));
  }
  void write_all(asio::const_buffer bytes, IoHandler done) override {
    asio::async_write(stream_, bytes, std::move(done));
  }
  asio::ip::tcp::socket& socket() override { return stream_.next_layer(); }

 private:
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
};

}  // namespace

std::unique_ptr<ByteStream> make_byte_stream(asio::ip::tcp::socket socket,
                                             asio::ssl::context* tls) {
  if (tls != nullptr) return std::make_unique<TlsStream>(std::move(socket), *tls);
  return std::make_unique<PlainStream>(std::move(socket));
}

}  // namespace upg::server::http
