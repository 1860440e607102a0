// The keys that requests may carry. Only their hashes are kept, and comparing takes the same time
// whatever is compared.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace upg::server {

class ApiKeys {
 public:
  ApiKeys() = default;
  // keys: as given; file: a key a line, empty ones and those that begin with # aside; may be empty.
  // Throws Error for a file that cannot be read, and for one without a key.
  ApiKeys(std::span<const std::string> keys, const std::filesystem::path& file);

  // No key is asked for.
  bool open() const noexcept { return hashes_.empty(); }
  // authorization: the header's value. True for "Bearer KEY" with one of the keys.
  bool allow(std::string_view authorization) const noexcept;

 private:
  using Hash = std::array<uint8_t, 32>;
  void add(std::string_view key);
  static Hash hash(std::string_view key) noexcept;
  std::vector<Hash> hashes_;
};

}  // namespace upg::server
