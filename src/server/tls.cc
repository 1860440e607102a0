#include "server/tls.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include "base/text.h"
#include "upg/error.h"

namespace upg::server {

std::unique_ptr<boost::asio::ssl::context> make_tls(const std::filesystem::path& certificate,
                                                    const std::filesystem::path& private_key) {
  using boost::asio::ssl::context;
  if (certificate.empty() && private_key.empty()) return nullptr;
  if (certificate.empty() || private_key.empty()) {
    throw Error(ErrorCode::kUsage,
                "--ssl-cert-file and --ssl-key-file: found one of them, needed are both");
  }
  auto tls = std::make_unique<context>(context::tls_server);
  tls->set_options(context::default_workarounds | context::no_sslv2 | context::no_sslv3 |
                   context::no_tlsv1 | context::no_tlsv1_1);
  SSL_CTX_set_mode(tls->native_handle(), SSL_MODE_RELEASE_BUFFERS);
  const auto check = [](const boost::system::error_code& error, std::string_view flag,
                        const std::filesystem::path& file) {
    if (!error) return;
    throw Error(ErrorCode::kUsage,
                fmt::format("{} {}: {}", flag, base::printable(file.native()), error.message()));
  };
  boost::system::error_code error;
  tls->use_certificate_chain_file(certificate.string(), error);
  check(error, "--ssl-cert-file", certificate);
  tls->use_private_key_file(private_key.string(), context::pem, error);
  check(error, "--ssl-key-file", private_key);
  if (SSL_CTX_check_private_key(tls->native_handle()) != 1) {
    throw Error(ErrorCode::kUsage, "--ssl-key-file: it is not the key of the certificate");
  }
  return tls;
}

}  // namespace upg::server
