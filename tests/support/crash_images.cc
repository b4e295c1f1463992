#include "tests/support/crash_images.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace millrace {
namespace {

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

uint64_t HashBytes(std::string_view bytes) {
  uint64_t hash = bytes.size();
  while (bytes.size() >= sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof(word));
    hash = Mix(hash, word);
    bytes.remove_prefix(sizeof(word));
  }
  for (char byte : bytes) hash = Mix(hash, static_cast<uint8_t>(byte));
  return hash;
}

}  // namespace

CrashImages::CrashImages(const CrashLog& log, const Options& options, uint64_t seed)
    : log_(log), options_(options), random_(seed, "crash images") {
  for (const CrashFile& file : log.files()) states_.push_back({file.before, 0, 0, 0});
}

void CrashImages::AddPieces(size_t file, const CrashEffect& effect,
                            std::vector<Piece>& pieces) const {
  const uint64_t kind = Mix(1, static_cast<uint64_t>(effect.opcode));
  if (effect.opcode == IoOpcode::kTruncate) {
    pieces.push_back({file, &effect, effect.offset, 0, Mix(kind, effect.offset)});
    return;
  }
  const bool is_write = effect.opcode == IoOpcode::kWrite;
  const uint64_t unit = is_write ? SimulatedFile::kSectorBytes : SparseImage::kPageBytes;
  const uint64_t end = effect.offset + effect.bytes;
  for (uint64_t start = effect.offset; start < end;) {
    const uint64_t bytes = std::min(end, (start / unit + 1) * unit) - start;
    uint64_t hash = Mix(Mix(kind, start), bytes);
    if (is_write) {
      hash =
          Mix(hash, HashBytes(std::string_view(effect.data).substr(start - effect.offset, bytes)));
    }
    pieces.push_back({file, &effect, start, bytes, hash});
    start += bytes;
  }
}

void CrashImages::Apply(SparseImage& image, const Piece& piece) {
  switch (piece.effect->opcode) {
    case IoOpcode::kWrite: {
      const char* data = piece.effect->data.data() + (piece.offset - piece.effect->offset);
      image.Write(piece.offset, {data, static_cast<size_t>(piece.bytes)});
      break;
    }
    case IoOpcode::kWriteZeroes:
      image.WriteZeroes(piece.offset, piece.bytes);
      break;
    case IoOpcode::kDiscard:
      image.Discard(piece.offset, piece.bytes);
      break;
    default:
      image.Resize(piece.offset);
  }
}

void CrashImages::MoveTo(size_t number) {
  const CrashPoint& point = log_.points()[number];
  pieces_.clear();
  for (size_t file = 0; file < point.files.size(); ++file) {
    const CrashPoint::File& now = point.files[file];
    const std::vector<CrashEffect>& effects = log_.files()[file].effects;
    State& state = states_[file];
    std::vector<Piece> durable;
    for (; state.durable_effects < now.durable; ++state.durable_effects) {
      AddPieces(file, effects[state.durable_effects], durable);
    }
    for (const Piece& piece : durable) {
      Apply(state.durable, piece);
      state.durable_key = Mix(state.durable_key, piece.hash);
    }
    for (uint64_t i = now.durable; i < now.done; ++i) AddPieces(file, effects[i], pieces_);
    for (const CrashEffect& effect : now.in_flight) AddPieces(file, effect, pieces_);
  }
  MakeSubsets();
}

void CrashImages::Choose(size_t subset) {
  chosen_ = &subsets_[subset];
  for (State& state : states_) state.key = state.durable_key;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (!(*chosen_)[i]) continue;
    State& state = states_[pieces_[i].file];
    state.key = Mix(state.key, pieces_[i].hash);
  }
}

SparseImage CrashImages::Content(size_t file) const {
  SparseImage image = states_[file].durable;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if ((*chosen_)[i] && pieces_[i].file == file) Apply(image, pieces_[i]);
  }
  return image;
}

uint64_t CrashImages::Key() const {
  uint64_t key = 0;
  for (const State& state : states_) key = Mix(key, state.key);
  return key;
}

// ---- Subsets -----------------------------------------------------------------------------------

void CrashImages::MakeSubsets() {
  subsets_.clear();
  if (pieces_.size() <= Options::kAllUpTo) {
    MakeAllSubsets();
  } else {
    MakeSomeSubsets();
  }
  Thin();
}

void CrashImages::MakeAllSubsets() {
  for (uint64_t bits = 0; bits < uint64_t{1} << pieces_.size(); ++bits) {
    Subset subset(pieces_.size());
    for (size_t i = 0; i < pieces_.size(); ++i) subset[i] = (bits >> i & 1) != 0;
    subsets_.push_back(std::move(subset));
  }
}

void CrashImages::MakeSomeSubsets() {
  const size_t count = pieces_.size();
  MakePrefixes();
  for (size_t i = 0; i < count; ++i) {
    Subset all_but_one(count, true);
    all_but_one[i] = false;
    subsets_.push_back(std::move(all_but_one));
    Subset one_only(count, false);
    one_only[i] = true;
    subsets_.push_back(std::move(one_only));
  }
  for (uint64_t sample = 0; sample < options_.samples; ++sample) {
    // Few, about half or most survive.
    const uint64_t survivors_of_8 = 1 + random_.Below(7);
    Subset subset(count);
    for (size_t i = 0; i < count; ++i) subset[i] = random_.Below(8) < survivors_of_8;
    subsets_.push_back(std::move(subset));
  }
}

void CrashImages::MakePrefixes() {
  const size_t count = pieces_.size();
  for (const bool others_survive : {false, true}) {
    for (size_t begin = 0; begin < count;) {
      size_t end = begin;
      while (end < count && pieces_[end].file == pieces_[begin].file) ++end;
      Subset prefix(count, others_survive);
      std::fill(prefix.begin() + static_cast<ptrdiff_t>(begin),
                prefix.begin() + static_cast<ptrdiff_t>(end), false);
      subsets_.push_back(prefix);
      for (; begin < end; ++begin) {
        prefix[begin] = true;
        subsets_.push_back(prefix);
      }
    }
  }
}

void CrashImages::Thin() {
  if (subsets_.size() <= options_.subsets_max) return;
  for (size_t i = 0; i < options_.subsets_max; ++i) {
    std::swap(subsets_[i], subsets_[i + random_.Below(subsets_.size() - i)]);
  }
  subsets_.resize(options_.subsets_max);
}

}  // namespace millrace
