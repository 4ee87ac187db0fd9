// Runs what csrc does on several std::threads at once, for the thread sanitizer (`make sanitize`):
// the pool with work that fails or is interrupted, one Encoder and one Decoder under many callers,
// counting and training on threads of their own, and Pages that die in one thread and are taken
// over in another. The answers are checked too. Prints a line and exits 0.
//
//     race_threads SEED ROUNDS
//     race_threads race              a deliberate race, which the sanitizer must report
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bpe/count.h"
#include "bpe/decode.h"
#include "bpe/encode.h"
#include "bpe/merge.h"
#include "bpe/threads.h"
#include "pages.h"

using namespace groundup;
using namespace groundup::bpe;

namespace {

constexpr std::size_t kThreads = 4;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "race_threads: %s\n", what);
  std::abort();
}

template <class Work>
void together(const Work& work) {
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < kThreads; ++thread) threads.emplace_back(work, thread);
  for (std::thread& thread : threads) thread.join();
}

bool never() { return false; }

void run_every_item_once() {
  std::vector<int> done(257);  // no atomics: an item that two threads take is a race
  require(run_threads(done.size(), kThreads, never, [&](std::size_t i, std::size_t) { ++done[i]; }),
          "finished work was called interrupted");
  for (const int times : done) require(times == 1, "an item was done more or less than once");
}

void run_work_that_fails(std::size_t at) {
  std::vector<int> done(64);
  try {
    run_threads(done.size(), kThreads, never, [&](std::size_t i, std::size_t) {
      if (i == at || i == at + 1) throw std::runtime_error(std::to_string(i));
      ++done[i];
    });
  } catch (const std::runtime_error& error) {
    const std::size_t failed = std::stoul(error.what());
    return require(failed == at || failed == at + 1, "another failure than the one thrown");
  }
  require(false, "a failure was lost");
}

void run_work_that_is_interrupted() {
  bool asked = false;  // from the calling thread only, so it needs no lock
  const bool finished = run_threads(
      1000, kThreads, [&] { return asked = true; },
      [](std::size_t, std::size_t) { std::this_thread::sleep_for(std::chrono::milliseconds(2)); });
  require(asked && !finished, "an interruption was lost");
}

std::string some_text(std::mt19937_64& random, std::size_t n_words) {
  static const char* const kWords[] = {
      " the", " Ünder", "\n", " 12", "'s", " कथा", "abababab", " a word longer than fifteen bytes"};
  std::string text;
  while (n_words-- > 0) text += kWords[random() % std::size(kWords)];
  return text;
}

void share_an_encoder(std::mt19937_64& random) {
  std::vector<std::string> owned;
  for (std::size_t i = 0; i < 40; ++i) owned.push_back(some_text(random, random() % 300));
  owned.push_back(some_text(random, 400'000));  // several pieces for the threads that count
  std::vector<Text> texts;
  for (const std::string& text : owned)
    texts.push_back({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  ChunkCounts counts, alone;
  counts.add_texts(texts, Pattern::gpt4, kThreads, never);
  alone.add_texts(texts, Pattern::gpt4, 1, never);
  require(counts.list().counts == alone.list().counts && counts.list().bytes == alone.list().bytes,
          "threads counted otherwise than one");
  std::vector<Merge> merges, merges_alone;
  std::uint64_t n_steps;
  TrainingRules rules;
  rules.n_merges = 60;
  train(counts.list(), rules, never, &merges, &n_steps);
  train(alone.list(), rules, never, &merges_alone, &n_steps);
  require(merges.size() == merges_alone.size(), "threads trained otherwise than one");

  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  std::vector<std::uint32_t> rows;
  for (const Merge& merge : merges) {
    tokens.push_back(tokens[merge.left] + tokens[merge.right]);
    rows.insert(rows.end(), {merge.left, merge.right, merge.id});
  }
  const Encoder encoder(tokens, rows.data(), rows.size() / 3, Pattern::gpt4, false);
  const Decoder decoder(tokens);
  owned.pop_back(), texts.pop_back();
  together([&](std::size_t thread) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Text& text = texts[(i + thread) % texts.size()];
      IdBuffer ids;
      encoder.encode(text.begin, text.size, &ids);
      ByteBuffer bytes;
      std::uint64_t seen;
      require(decoder.decode(
                  ids.size(), [&](std::size_t at) { return ids.data()[at]; }, &bytes, &seen) &&
                  bytes.size() == text.size && !std::memcmp(bytes.data(), text.begin, text.size),
              "a round trip lost text");
    }
  });
}

// Every block is written and read without a lock: two that share memory are a race.
void pass_pages_on() {
  constexpr std::size_t kSize = std::size_t{5} << 20;
  std::vector<std::unique_ptr<Pages>> kept(kThreads);
  const auto fill = [&](std::size_t thread) {
    for (int i = 0; i < 20; ++i) {
      kept[thread].reset();
      kept[thread].reset(new Pages(kSize - thread));
      auto* const bytes = static_cast<unsigned char*>(kept[thread]->begin());
      for (std::size_t at = 0; at < kept[thread]->size(); at += 4096)
        bytes[at] = static_cast<unsigned char>(thread);
      for (std::size_t at = 0; at < kept[thread]->size(); at += 4096)
        require(bytes[at] == thread, "two live Pages share memory");
    }
  };
  together(fill);
  together([&](std::size_t thread) { kept[(thread + 1) % kThreads].reset(); });
}

void race() {
  int times = 0;
  together([&](std::size_t) { ++times; });
  std::printf("%d\n", times);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && !std::strcmp(argv[1], "race")) return race(), 0;
  std::mt19937_64 random(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0);
  const long rounds = argc > 2 ? std::atol(argv[2]) : 10;
  for (long i = 0; i < rounds; ++i) {
    run_every_item_once();
    run_work_that_fails(random() % 63);
    run_work_that_is_interrupted();
    share_an_encoder(random);
    pass_pages_on();
  }
  std::printf("%ld rounds without complaint\n", rounds);
}
