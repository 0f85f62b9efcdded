#include "worker/gang_mail.h"

#include <cstring>

namespace seamwright::worker {
namespace {

// Ranks of one gang run the same build on machines of one byte order.
struct Head {
  std::uint64_t keys = 0;
  std::uint64_t numbers = 0;
  std::uint64_t payload = 0;
  std::uint8_t kind = 0;
  std::uint8_t unused[3] = {};
  std::uint32_t run = 0;
};

template <class T>
void append(comm::Bytes& out, const T* data, std::size_t count) {
  const auto* raw = reinterpret_cast<const std::byte*>(data);
  out.insert(out.end(), raw, raw + count * sizeof(T));
}

template <class T>
std::vector<T> take(const comm::Bytes& bytes, std::size_t& at, std::uint64_t count) {
  if (count > (bytes.size() - at) / sizeof(T)) {
    fail(ErrorCode::kCorrupt, "mail between ranks is shorter than it says");
  }
  std::vector<T> values(static_cast<std::size_t>(count));
  if (count > 0) std::memcpy(values.data(), bytes.data() + at, values.size() * sizeof(T));
  at += values.size() * sizeof(T);
  return values;
}

}  // namespace

comm::Bytes encode(const GangMail& mail) {
  Head head;
  head.keys = mail.keys.size();
  head.numbers = mail.numbers.size();
  head.payload = mail.payload.size();
  head.kind = static_cast<std::uint8_t>(mail.kind);
  head.run = mail.run;
  comm::Bytes out;
  out.reserve(sizeof(Head) + mail.keys.size() * sizeof(RecordKey) +
              mail.numbers.size() * sizeof(std::int64_t) + mail.payload.size());
  append(out, &head, 1);
  append(out, mail.keys.data(), mail.keys.size());
  append(out, mail.numbers.data(), mail.numbers.size());
  append(out, mail.payload.data(), mail.payload.size());
  return out;
}

GangMail decode_gang_mail(const comm::Bytes& bytes) {
  std::size_t at = 0;
  const auto head = take<Head>(bytes, at, 1).front();
  if (head.kind < static_cast<std::uint8_t>(MailKind::kSave) ||
      head.kind > static_cast<std::uint8_t>(MailKind::kSpans)) {
    fail(ErrorCode::kCorrupt, "mail between ranks is of unknown kind {}", head.kind);
  }
  GangMail mail;
  mail.kind = static_cast<MailKind>(head.kind);
  mail.run = head.run;
  mail.keys = take<RecordKey>(bytes, at, head.keys);
  mail.numbers = take<std::int64_t>(bytes, at, head.numbers);
  mail.payload = take<std::byte>(bytes, at, head.payload);
  if (at != bytes.size()) fail(ErrorCode::kCorrupt, "mail between ranks is longer than it says");
  return mail;
}

}  // namespace seamwright::worker
