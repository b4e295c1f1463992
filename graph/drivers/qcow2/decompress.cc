#include "millrace/graph/drivers/qcow2/decompress.h"

#include <zlib.h>
#include <zstd.h>

#include "millrace/engine/base/text.h"

namespace millrace::qcow2 {
namespace {

// Deflate as qcow2 stores it has no header and a window of 4 KiB.
constexpr int kRawDeflateWindowBits = -12;

absl::Status BrokenStream(std::string_view why) {
  return absl::DataLossError(StrCat("compressed cluster: ", why));
}

absl::Status InflateZlib(absl::Span<const uint8_t> source, absl::Span<uint8_t> target) {
  z_stream stream = {};
  stream.next_in = const_cast<Bytef*>(source.data());
  stream.avail_in = static_cast<uInt>(source.size());
  stream.next_out = target.data();
  stream.avail_out = static_cast<uInt>(target.size());
  if (inflateInit2(&stream, kRawDeflateWindowBits) != Z_OK) {
    return absl::ResourceExhaustedError("compressed cluster: no memory to inflate it");
  }
  const int result = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  if (stream.avail_out != 0) return BrokenStream("the deflate stream is broken or too short");
  // Z_BUF_ERROR with a full target: the end marker did not come. Some writers leave it out.
  if (result != Z_STREAM_END && result != Z_BUF_ERROR && result != Z_OK) {
    return BrokenStream("the deflate stream is broken");
  }
  return absl::OkStatus();
}

absl::Status InflateZstd(absl::Span<const uint8_t> source, absl::Span<uint8_t> target) {
  const size_t frame = ZSTD_findFrameCompressedSize(source.data(), source.size());
  if (ZSTD_isError(frame) != 0) return BrokenStream(ZSTD_getErrorName(frame));
  const size_t bytes = ZSTD_decompress(target.data(), target.size(), source.data(), frame);
  if (ZSTD_isError(bytes) != 0) return BrokenStream(ZSTD_getErrorName(bytes));
  if (bytes != target.size()) return BrokenStream("the zstd frame is too short");
  return absl::OkStatus();
}

}  // namespace

absl::Status Decompress(uint8_t compression_type, absl::Span<const uint8_t> source,
                        absl::Span<uint8_t> target) {
  return compression_type == 1 ? InflateZstd(source, target) : InflateZlib(source, target);
}

}  // namespace millrace::qcow2
