// What does the disk give a copy that never waits: the data of one file copied to another through
// one io_uring, a fixed number of requests in flight?
//
//   limit_copy [--requests N] [--chunk BYTES] [--buffered] FROM TO
//
// It is the limit that bench/compare_qemu and bench/table hold the jobs against, so it knows
// nothing of our engine. N buffers of one chunk (16 of 1 MiB) are touched beforehand; each is
// filled from FROM, written to TO at the same offset and filled again. O_DIRECT unless buffered.
// Prints one line of JSON: "bytes", "seconds" from the first request to the last answer,
// "cpu_seconds" of the process in that time, "requests", "enters".
#include <fcntl.h>
#include <liburing.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace millrace::bench {
namespace {

constexpr size_t kAlignment = 4096;  // of O_DIRECT

struct Options {
  size_t requests = 16;
  size_t chunk_bytes = size_t{1} << 20;
  bool is_buffered = false;
  const char* from = nullptr;
  const char* to = nullptr;
};

[[noreturn]] void Fail(const char* what, int error_number) {
  std::fprintf(stderr, "limit_copy: %s: %s\n", what, std::strerror(error_number));
  std::exit(1);
}

[[noreturn]] void FailUsage() {
  std::fputs("usage: limit_copy [--requests N] [--chunk BYTES] [--buffered] FROM TO\n", stderr);
  std::exit(2);
}

size_t NumberOrUsage(const char* text) {
  char* end = nullptr;
  const unsigned long long value = text == nullptr ? 0 : std::strtoull(text, &end, 10);
  if (value == 0 || value > (1U << 30) || *end != '\0') FailUsage();
  return static_cast<size_t>(value);
}

Options ReadOptions(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "--requests") {
      options.requests = NumberOrUsage(words[++i]);
    } else if (word == "--chunk") {
      options.chunk_bytes = NumberOrUsage(words[++i]);
    } else if (word == "--buffered") {
      options.is_buffered = true;
    } else if (options.from == nullptr) {
      options.from = words[i];
    } else if (options.to == nullptr) {
      options.to = words[i];
    } else {
      FailUsage();
    }
  }
  if (options.to == nullptr || options.requests > 1024 || options.chunk_bytes % kAlignment != 0) {
    FailUsage();
  }
  return options;
}

double ProcessorSeconds() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

class Copier {
 public:
  explicit Copier(const Options& options)
      : chunk_bytes_(options.chunk_bytes), slots_(options.requests) {
    OpenFiles(options);
    SetUpRing(options.requests);
    void* memory = nullptr;
    const size_t bytes = options.requests * chunk_bytes_;
    if (posix_memalign(&memory, kAlignment, bytes) != 0) Fail("memory", ENOMEM);
    memory_.reset(static_cast<char*>(memory));
    std::memset(memory, 0, bytes);
    for (size_t i = 0; i < slots_.size(); ++i) slots_[i].memory = &memory_.get()[i * chunk_bytes_];
  }
  ~Copier() {
    io_uring_queue_exit(&ring_);
    close(from_);
    close(to_);
  }
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  void Run() {
    for (Slot& slot : slots_) ReadNext(slot);
    while (in_flight_ > 0) {
      const int submitted = io_uring_submit_and_wait(&ring_, 1);
      if (submitted < 0) Fail("submit", -submitted);
      ++enters_;
      TakeCompletions();
    }
    // Directly, the last piece is written whole.
    if (ftruncate(to_, static_cast<off_t>(size_)) != 0) Fail("truncate", errno);
  }

  uint64_t size() const { return size_; }
  uint64_t requests() const { return requests_; }
  uint64_t enters() const { return enters_; }

 private:
  struct Slot {
    char* memory = nullptr;
    uint64_t offset = 0;
    size_t bytes = 0;  // of the file in this piece
    size_t done = 0;   // of them, read or written
    bool is_writing = false;
  };
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };

  void OpenFiles(const Options& options) {
    const int direct = options.is_buffered ? 0 : O_DIRECT;
    from_ = open(options.from, O_RDONLY | O_CLOEXEC | direct);
    if (from_ < 0) Fail(options.from, errno);
    to_ = open(options.to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | direct, 0644);
    if (to_ < 0) Fail(options.to, errno);
    struct stat about;
    if (fstat(from_, &about) != 0) Fail(options.from, errno);
    size_ = static_cast<uint64_t>(about.st_size);
    if (ftruncate(to_, about.st_size) != 0) Fail("truncate", errno);
  }

  void SetUpRing(size_t requests) {
    io_uring_params wished = {};
    wished.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    const auto entries = static_cast<unsigned>(requests);
    if (io_uring_queue_init_params(entries, &ring_, &wished) == 0) return;
    const int error = io_uring_queue_init(entries, &ring_, 0);  // an older kernel
    if (error < 0) Fail("io_uring", -error);
  }

  void ReadNext(Slot& slot) {
    if (next_ >= size_) return;
    const uint64_t left = size_ - next_;
    slot.offset = next_;
    slot.bytes = left < chunk_bytes_ ? static_cast<size_t>(left) : chunk_bytes_;
    slot.done = 0;
    slot.is_writing = false;
    next_ += slot.bytes;
    ++in_flight_;
    Queue(slot);
  }

  void Queue(Slot& slot) {
    io_uring_sqe* const request = io_uring_get_sqe(&ring_);
    if (request == nullptr) Fail("no room in the ring", EAGAIN);
    char* const memory = slot.memory + slot.done;
    const auto bytes =
        static_cast<unsigned>((slot.bytes - slot.done + kAlignment - 1) / kAlignment * kAlignment);
    if (slot.is_writing) {
      io_uring_prep_write(request, to_, memory, bytes, slot.offset + slot.done);
    } else {
      io_uring_prep_read(request, from_, memory, bytes, slot.offset + slot.done);
    }
    io_uring_sqe_set_data(request, &slot);
    ++requests_;
  }

  void TakeCompletions() {
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) == 0) {
      auto& slot = *static_cast<Slot*>(io_uring_cqe_get_data(completion));
      const int result = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      if (result <= 0) Fail(slot.is_writing ? "write" : "read", result < 0 ? -result : EIO);
      GoOn(slot, static_cast<size_t>(result));
    }
  }

  void GoOn(Slot& slot, size_t moved) {
    slot.done += moved;
    if (slot.done < slot.bytes) return Queue(slot);
    if (!slot.is_writing) {
      slot.is_writing = true;
      slot.done = 0;
      return Queue(slot);
    }
    --in_flight_;
    ReadNext(slot);
  }

  const size_t chunk_bytes_;
  std::vector<Slot> slots_;
  std::unique_ptr<char, Free> memory_;
  io_uring ring_ = {};
  int from_ = -1;
  int to_ = -1;
  uint64_t size_ = 0;
  uint64_t next_ = 0;  // of FROM, not yet asked for
  size_t in_flight_ = 0;
  uint64_t requests_ = 0;
  uint64_t enters_ = 0;
};

int Main(int count, char** words) {
  Copier copier(ReadOptions(count, words));
  const double processor = ProcessorSeconds();
  const auto start = std::chrono::steady_clock::now();
  copier.Run();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf(
      "{\"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"requests\": %llu, "
      "\"enters\": %llu}\n",
      static_cast<unsigned long long>(copier.size()), took.count(), ProcessorSeconds() - processor,
      static_cast<unsigned long long>(copier.requests()),
      static_cast<unsigned long long>(copier.enters()));
  return 0;
}

}  // namespace
}  // namespace millrace::bench

int main(int count, char** words) { return millrace::bench::Main(count, words); }
