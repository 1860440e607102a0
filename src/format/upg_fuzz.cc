// Any bytes as a UPG file: refused with an Error, or every part can be read. The header's checksum
// is put right first, else nothing behind it would ever be reached.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/check.h"
#include "format/upg_file.h"
#include "format/upg_metadata.h"
#include "upg/error.h"

namespace {

std::string sealed(std::string file) {
  uint64_t length = 0;
  if (file.size() < sizeof(length)) return file;
  std::memcpy(&length, file.data(), sizeof(length));
  if (length > file.size() - sizeof(length)) return file;
  std::string header = file.substr(sizeof(length), length);
  const size_t key = header.find(upg::format::kChecksumKey);
  if (key == std::string::npos) return file;
  if (header.size() - key < upg::format::kChecksumKey.size() + 16) return file;
  upg::format::seal_header(header);
  return file.replace(sizeof(length), length, header);
}

void touch(const upg::base::TensorView* view) {
  if (view == nullptr) return;
  UPG_CHECK(reinterpret_cast<uintptr_t>(view->bytes.data()) % upg::base::size_of(view->dtype) == 0);
  volatile uint64_t sum = 0;
  for (const std::byte byte : view->bytes) sum = sum + static_cast<uint64_t>(byte);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int descriptor = ::memfd_create("upg", MFD_CLOEXEC);
  const std::string file = sealed({reinterpret_cast<const char*>(data), size});
  UPG_CHECK(::ftruncate(descriptor, static_cast<off_t>(file.size())) == 0);
  UPG_CHECK(::pwrite(descriptor, file.data(), file.size(), 0) == static_cast<ssize_t>(file.size()));
  try {
    const upg::format::UpgFile upg(upg::base::MappedFile(descriptor, "f"));
    for (const upg::format::MatrixRecord& matrix : upg.info().matrices) {
      UPG_CHECK(upg.find_matrix(matrix.name) == &matrix);
      for (const char* part : {"", "codes", "scale", "values", "delta_indices", "row_pointers",
                               "prime_indices", "scales"}) {
        touch(upg.part(matrix, part));
      }
    }
    (void)upg.text("tokenizer.json");
  } catch (const upg::Error&) {
  }
  return 0;
}
