// Feeds csrc/bpe random text under the sanitizers; docs/log.md has the commands. Prints a line and
// exits 0, or stops where a sanitizer or a check complains.
//
//     fuzz_bpe SEED ROUNDS        GROUNDUP_ISA=avx2 and so on choose the scanners
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#define GROUNDUP_ISA chunk_by_chunk  // scan_chunk.h, apart from the scanners that include it
#include "bpe/alphabet.h"
#include "bpe/count.h"
#include "bpe/decode.h"
#include "bpe/encode.h"
#include "bpe/merge.h"
#include "bpe/ranks.h"
#include "bpe/scan_chunk.h"
#include "bpe/unicode.h"
#include "isa.h"

using namespace groundup::bpe;

namespace {

std::mt19937_64 random_bits;

std::size_t below(std::size_t n) { return random_bits() % n; }

void append_utf8(std::string* text, std::uint32_t point) {
  const auto put = [&](std::uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) return put(0xC0 | point >> 6), put(0x80 | (point & 63));
  if (point < 0x10000)
    return put(0xE0 | point >> 12), put(0x80 | (point >> 6 & 63)), put(0x80 | (point & 63));
  put(0xF0 | point >> 18), put(0x80 | (point >> 12 & 63));
  put(0x80 | (point >> 6 & 63)), put(0x80 | (point & 63));
}

std::string some_text() {
  static const char* kCommon[] = {
      "a",  "B",   "'",   "s",  "ll", " ", "  ", "\n", "\r",           "\t",           "1",  ".",
      "/",  "क",   "ा",   "é",  "ſ",  "²", "∫",  "₁",  "\xE2\x80\x8D", "😀",           "$",  "१",
      "को", "ऐसा", "the", "of", " ",  " ", "A",  "Я",  "中",           "\xE3\x80\x80", "'t", "-"};
  std::string text;
  for (std::size_t n = below(4) ? below(40) : below(4000); n > 0; --n) {
    if (below(12)) {
      text += kCommon[below(std::size(kCommon))];
      continue;
    }
    std::uint32_t point = static_cast<std::uint32_t>(below(0x110000));
    append_utf8(&text, point >= 0xD800 && point < 0xE000 ? 0 : point);
  }
  return text;
}

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_bpe: %s\n", what);
  std::abort();
}

const std::uint8_t* bytes(const std::string& text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

template <Pattern pattern>
std::vector<std::size_t> ends_by_chunk(const Text& text) {
  std::vector<std::size_t> ends;
  for (const std::uint8_t *at = text.begin, *end = at + text.size; at < end;) {
    at = groundup::chunk_by_chunk::Chunk<pattern>::next(at, end);
    ends.push_back(static_cast<std::size_t>(at - text.begin));
  }
  return ends;
}

// What 64 bytes at a time find, in batches of any size, is what one chunk after the other finds.
template <Pattern pattern>
void require_same_ends(const Text& text) {
  std::vector<std::size_t> found, some(1 + below(below(2) ? 80 : 600));
  for (std::size_t at = 0; at < text.size; at = found.back()) {
    const std::size_t n = split_some(pattern, text.begin, at, text.size, some.data(), some.size());
    require(n > 0 && n <= some.size(), "a batch without a chunk, or with too many");
    found.insert(found.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(n));
  }
  require(found == ends_by_chunk<pattern>(text), "windows cut otherwise than chunk by chunk");
}

// Of a code point beyond ASCII.
std::string utf8(std::uint32_t point) {
  std::string rest;
  std::uint32_t most = 0x3F;  // that the first byte holds, beside its mark
  do {
    rest.insert(rest.begin(), static_cast<char>(0x80 | (point & 0x3F)));
    point >>= 6, most >>= 1;
  } while (point > most);
  return static_cast<char>(~(2 * most + 1) | point) + rest;
}

void round() {
  // Each text in memory of exactly its size, so that a read past its end is seen.
  std::vector<std::unique_ptr<std::uint8_t[]>> owned;
  std::vector<Text> texts;
  for (std::size_t n = 1 + below(6); n > 0; --n) {
    const std::string text = some_text();
    require(find_invalid_utf8(bytes(text), text.size()) == text.size(), "valid UTF-8 refused");
    owned.emplace_back(new std::uint8_t[text.size()]);
    std::copy(text.begin(), text.end(), owned.back().get());
    texts.push_back({owned.back().get(), text.size()});
  }
  for (const Text& text : texts) {
    require_same_ends<Pattern::gpt2>(text);
    require_same_ends<Pattern::gpt4>(text);
    require_same_ends<Pattern::gpt4o>(text);
    require_same_ends<Pattern::indic_math>(text);
  }
  std::string garbage(below(30), '\0');
  for (char& byte : garbage) byte = static_cast<char>(random_bits());
  find_invalid_utf8(bytes(garbage), garbage.size());

  const auto pattern = static_cast<Pattern>(below(5));
  const auto ties = static_cast<Ties>(below(3));
  ChunkCounts counts(below(2) ? 1 : std::size_t{1} << 30);  // with runs on disk, or without
  const auto never = [] { return false; };
  counts.add_texts(texts, pattern, 1 + below(3), never);
  counts.add_chunk(bytes(garbage), garbage.size(), 1 + below(5));
  std::vector<Merge> merges;
  TrainingRules rules;
  rules.n_merges = below(300);
  rules.ties = ties;
  rules.min_frequency = below(3);
  if (below(2)) rules.max_token_bytes = 1 + below(8);
  if (below(2)) {  // on code points, of which some stay bytes
    rules.alphabet.emplace();
    for (const auto& [point, count] : count_code_points(counts.list()))
      if (point >= 0x80 && below(4)) rules.alphabet->push_back(point);
  }
  std::uint64_t n_steps;
  train(counts.list(), rules, never, &merges, &n_steps);
  // Training on from the first half gives the same.
  for (std::size_t i = 0; i < merges.size() / 2; ++i)
    rules.known.emplace_back(merges[i].left, merges[i].right);
  std::vector<Merge> extended;
  train(counts.list(), rules, never, &extended, &n_steps);
  require(extended.size() == merges.size() &&
              std::equal(merges.begin(), merges.end(), extended.begin(),
                         [](const Merge& a, const Merge& b) {
                           return a.left == b.left && a.right == b.right && a.count == b.count;
                         }),
          "extending learnt otherwise");

  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  if (rules.alphabet)
    for (const std::uint32_t point : *rules.alphabet) tokens.push_back(utf8(point));
  std::vector<std::uint32_t> rows;
  for (const Merge& merge : merges) {
    tokens.push_back(tokens[merge.left] + tokens[merge.right]);
    rows.insert(rows.end(), {merge.left, merge.right, merge.id});
  }
  if (below(2)) rows = all_splits(tokens);
  const Decoder decoder(tokens);
  std::vector<std::string> read;
  read_ranks(reinterpret_cast<const char*>(bytes(garbage)), garbage.size(), &read);
  const Encoder encoder(tokens, rows.data(), rows.size() / 3, pattern, below(2));
  const auto encode_all = [&] {
    for (const Text& text : texts) {
      IdBuffer ids;
      encoder.encode(text.begin, text.size, &ids);
      ByteBuffer decoded;
      std::uint64_t seen;
      require(decoder.decode(
                  ids.size(), [&](std::size_t i) { return ids.data()[i]; }, &decoded, &seen),
              "an id without a token");
      require(
          decoded.size() == text.size &&
              std::equal(text.begin, text.begin + text.size, decoded.data(),
                         [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); }),
          "round trip lost text");
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t n = below(3); n > 0; --n) threads.emplace_back(encode_all);
  encode_all();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* complaint = groundup::choose_isa()) {
    std::fprintf(stderr, "fuzz_bpe: %s\n", complaint);
    return 2;
  }
  random_bits.seed(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0);
  const long rounds = argc > 2 ? std::atol(argv[2]) : 1000;
  for (long i = 0; i < rounds; ++i) round();
  std::printf("%ld rounds without complaint\n", rounds);
}
