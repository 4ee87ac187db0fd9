#include "bpe/rows.h"

#include <cctype>
#include <cstring>

namespace groundup::bpe {
namespace {

constexpr std::uint64_t kMaxIds = std::uint64_t{1} << 24;
constexpr std::uint64_t kMost = ~std::uint64_t{0};

struct Reader {
  const char* at;
  const char* end;

  bool is_done() noexcept {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) ++at;
    return at == end;
  }

  // The next character that is no white space, 0 at the end; a row holds no character 0.
  char next() noexcept { return is_done() ? '\0' : *at++; }

  // A string without the quote that opened it.
  bool text() noexcept {
    while (at < end) {
      const auto byte = static_cast<unsigned char>(*at++);
      if (byte == '"') return true;
      if (byte < 0x20) return false;
      if (byte != '\\') continue;
      if (at == end) return false;
      const char kind = *at++;
      if (kind == '\0' || std::strchr("\"\\/bfnrtu", kind) == nullptr) return false;
      if (kind != 'u') continue;
      if (end - at < 4) return false;
      for (int i = 0; i < 4; ++i)
        if (!std::isxdigit(static_cast<unsigned char>(at[i]))) return false;
      if ((at[0] == 'd' || at[0] == 'D') && at[1] >= '8') return false;
      at += 4;
    }
    return false;
  }

  bool number(std::uint64_t* value) noexcept {
    const char first = next();
    if (first < '0' || first > '9') return false;
    *value = static_cast<std::uint64_t>(first - '0');
    for (; at < end && *at >= '0' && *at <= '9'; ++at) {
      const auto digit = static_cast<std::uint64_t>(*at - '0');
      // JSON knows no 007; and what no word holds is no count.
      if (first == '0' || *value > (kMost - digit) / 10) return false;
      *value = *value * 10 + digit;
    }
    return true;
  }
};

}  // namespace

bool read_rows(const char* at, const char* end, std::size_t width, std::vector<std::uint32_t>* rows,
               std::vector<std::uint64_t>* counts) {
  Reader reader{at, end};
  char mark = reader.next();
  if (mark == ']') return reader.next() == '}' && reader.is_done();
  for (;; mark = reader.next()) {
    if (mark != '[') return false;
    for (std::size_t i = 0; i < width; ++i) {
      std::uint64_t value;
      if ((i && reader.next() != ',') || !reader.number(&value)) return false;
      if (i == 3) {
        counts->push_back(value);
      } else {
        if (value >= kMaxIds) return false;
        rows->push_back(static_cast<std::uint32_t>(value));
      }
    }
    if (reader.next() != ']') return false;
    mark = reader.next();
    if (mark == ']') return reader.next() == '}' && reader.is_done();
    if (mark != ',') return false;
  }
}

std::int64_t last_seen(const char* at, const char* end) noexcept {
  Reader reader{at, end};
  std::int64_t last = -1;
  if (reader.is_done()) return last;
  for (;;) {
    if (reader.next() != '"' || reader.at == end || *reader.at < '0' || *reader.at > '9') return -2;
    std::uint64_t id;
    if (!reader.number(&id) || id >= kMaxIds || static_cast<std::int64_t>(id) <= last) return -2;
    last = static_cast<std::int64_t>(id);
    if (reader.at == end || *reader.at++ != '"' || reader.next() != ':') return -2;
    if (reader.next() != '"' || !reader.text()) return -2;
    if (reader.is_done()) return last;
    if (reader.next() != ',') return -2;
  }
}

bool ends_of_rows(const std::uint32_t* rows, std::size_t n_rows, std::size_t max_bytes,
                  std::vector<std::size_t>* ends) {
  ends->clear();
  ends->reserve(256 + n_rows);
  for (std::size_t byte = 1; byte <= 256; ++byte) ends->push_back(byte);
  const auto size = [&](std::size_t id) { return (*ends)[id] - (id ? (*ends)[id - 1] : 0); };
  for (std::size_t row = 0; row < n_rows; ++row, rows += 3) {
    const std::size_t known = ends->size();
    if (rows[0] >= known || rows[1] >= known || rows[2] != known) return false;
    const std::size_t n = size(rows[0]) + size(rows[1]);  // both at most max_bytes: no overflow
    if (n > max_bytes - ends->back()) return false;
    ends->push_back(ends->back() + n);
  }
  return true;
}

}  // namespace groundup::bpe
