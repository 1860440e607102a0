// Arbitrary bytes as the tensors of a small matrix: bind() throws an Error, or every row decodes
// without touching what is not there.
//
//   byte 0       codec (index into the table)
//   byte 1, 2    rows - 1, columns - 1 (bit 7 of byte 2: more than one block)
//   byte 3       bit 0: with a rotation; bits 1-3: a tensor whose length is off by one element
//   then for each tensor of unknown length two bytes of it, then the tensors' bytes in the table's
//   order; what is missing is zero
#include <cstring>
#include <new>

#include "codec/codec.h"
#include "upg/error.h"

namespace upg::codec {
namespace {

// Exactly the tensor's bytes, so that one beyond them is an error, at a multiple of 64.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size)
      : bytes_(static_cast<std::byte*>(::operator new (size, std::align_val_t{64}))) {
    std::memset(bytes_, 0, size);
  }
  AlignedBytes(AlignedBytes&& other) noexcept : bytes_(other.bytes_) { other.bytes_ = nullptr; }
  AlignedBytes& operator=(AlignedBytes&&) = delete;
  ~AlignedBytes() { ::operator delete (bytes_, std::align_val_t{64}); }
  std::byte* get() const { return bytes_; }

 private:
  std::byte* bytes_;
};

struct Input {
  const uint8_t* data;
  size_t size;

  uint8_t byte() {
    if (size == 0) return 0;
    --size;
    return *data++;
  }
  void fill(std::byte* out, size_t wanted) {
    const size_t taken = wanted < size ? wanted : size;
    if (taken > 0) std::memcpy(out, data, taken);
    data += taken;
    size -= taken;
  }
};

struct Tensor {
  std::string suffix;
  AlignedBytes bytes;
  base::TensorView view;
};

bool has_free_length(const Codec& codec, const PartSpec& spec) {
  return (codec.name == "mdcsr" && (spec.suffix == "values" || spec.suffix == "delta_indices" ||
                                    spec.suffix == "prime_indices")) ||
         (codec.name == "sparse" && spec.suffix == "codes");
}

std::vector<Tensor> read_tensors(const Codec& codec, int64_t rows, int64_t cols, uint8_t flags,
                                 Input& input) {
  std::vector<Tensor> tensors;
  int64_t free_length = input.byte();
  free_length |= (input.byte() & 7) << 8;
  const int odd = flags >> 1 & 7;
  for (PartSpec& spec : codec.parts(rows, cols, {})) {
    if (has_free_length(codec, spec)) spec.shape[0] = free_length;
    if (static_cast<int>(tensors.size()) + 1 == odd) spec.shape.back() += 1;
    size_t size = base::size_of(spec.dtype);
    for (const int64_t n : spec.shape) size *= static_cast<size_t>(n);
    AlignedBytes bytes(size);
    input.fill(bytes.get(), size);
    const std::span<const std::byte> view(bytes.get(), size);
    tensors.push_back({spec.suffix, std::move(bytes), {spec.dtype, spec.shape, view}});
  }
  return tensors;
}

void run(Input input) {
  const Codec& codec = all_codecs()[input.byte() % all_codecs().size()];
  const int64_t rows = input.byte() % 70 + 1;
  const uint8_t width = input.byte();
  const int64_t cols = (width & 127) + 1 + ((width & 128) != 0 ? 128 : 0);
  const uint8_t flags = input.byte();
  const std::vector<Tensor> tensors = read_tensors(codec, rows, cols, flags, input);
  std::vector<uint8_t> signs(static_cast<size_t>(padded_cols(cols) / 8), 0x5a);
  StoredMatrix stored;
  stored.name = "fuzz";
  stored.rows = rows;
  stored.cols = cols;
  stored.signs = (flags & 1) != 0 ? signs.data() : nullptr;
  stored.part = [&](std::string_view suffix) -> const base::TensorView* {
    for (const Tensor& tensor : tensors) {
      if (tensor.suffix == suffix) return &tensor.view;
    }
    return nullptr;
  };
  Matrix matrix;
  try {
    matrix = codec.bind(stored);
  } catch (const Error&) {
    return;
  }
  std::vector<float> out(static_cast<size_t>(rows * cols));
  decode_rows(matrix, 0, rows, out.data());
}

}  // namespace
}  // namespace upg::codec

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  upg::codec::run({data, size});
  return 0;
}
