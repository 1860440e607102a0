#include "server/api_keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <cctype>

#include "base/file.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::server {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace

ApiKeys::ApiKeys(std::span<const std::string> keys, const std::filesystem::path& file) {
  for (const std::string& key : keys) add(key);
  if (file.empty()) return;
  const std::string text = base::read_file(file, kMostBytes);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = trimmed(std::string_view(text).substr(begin, end - begin));
    if (!line.empty() && line.front() != '#') add(line);
    begin = end + 1;
  }
  if (hashes_.empty()) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found no key, needed is one a line",
                                               base::printable(file.native())));
  }
}

void ApiKeys::add(std::string_view key) {
  if (key.empty()) throw Error(ErrorCode::kUsage, "--api-key: found an empty key");
  hashes_.push_back(hash(key));
}

ApiKeys::Hash ApiKeys::hash(std::string_view key) noexcept {
  Hash result;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), result.data());
  return result;
}

bool ApiKeys::allow(std::string_view authorization) const noexcept {
  if (open()) return true;
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() <= kScheme.size()) return false;
  for (size_t i = 0; i < kScheme.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(authorization[i])) != kScheme[i]) return false;
  }
  const Hash given = hash(trimmed(authorization.substr(kScheme.size())));
  int found = 0;
  for (const Hash& known : hashes_) {
    found |= static_cast<int>(CRYPTO_memcmp(known.data(), given.data(), given.size()) == 0);
  }
  return found != 0;
}

}  // namespace upg::server
