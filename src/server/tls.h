// TLS of the server: certificate and key from PEM files.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <filesystem>
#include <memory>

namespace upg::server {

// Null without a certificate. TLS 1.2 and newer. Throws Error(kUsage) naming the file that is
// missing or broken, or when key and certificate do not belong together.
std::unique_ptr<boost::asio::ssl::context> make_tls(const std::filesystem::path& certificate,
                                                    const std::filesystem::path& private_key);

}  // namespace upg::server
