// A connection's bytes, with TLS or without.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/system/error_code.hpp>
#include <functional>
#include <memory>

namespace upg::server::http {

namespace asio = boost::asio;
using boost::system::error_code;
using IoHandler = std::function<void(error_code, size_t)>;

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  virtual void handshake(std::function<void(error_code)> done) = 0;
  virtual void read_some(asio::mutable_buffer into, IoHandler done) = 0;
  virtual void write_all(asio::const_buffer bytes, IoHandler done) = 0;
  virtual asio::ip::tcp::socket& socket() = 0;
};

// tls: null for none; must outlive the stream.
std::unique_ptr<ByteStream> make_byte_stream(asio::ip::tcp::socket socket, asio::ssl::context* tls);

}  // namespace upg::server::http
