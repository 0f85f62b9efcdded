// Durable records and segments in a folder: what was acknowledged comes back, what is damaged
// never.
#include "worker/folder_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>
#include <string>

#include "media/files.h"
#include "tests/unit/media/temporary_folder.h"
#include "worker/record_file.h"

namespace seamwright::worker {
namespace {

using media::code_of;
using media::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

DurableIdentity identity(const std::string& prompt = "a cat") {
  DurableIdentity one;
  one.parts["request"]["prompt"] = prompt;
  one.parts["numerics"] = "test";
  return one;
}

comm::Bytes bytes_of(const std::string& text) {
  comm::Bytes bytes;
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

std::string text_of(const comm::Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Waits for the acknowledgement and gives back its error, "" for none.
std::string save(DurableStore& store, RecordKey key, const std::string& text) {
  std::promise<std::string> done;
  store.save_record(key, bytes_of(text),
                    [&](const Error* error) { done.set_value(error ? error->what() : ""); });
  return done.get_future().get();
}

struct Folder {
  TemporaryFolder temporary;
  fs::path path = temporary / "job";
  std::vector<std::string> warnings;

  std::unique_ptr<DurableStore> open(const DurableIdentity& of = identity()) {
    warnings.clear();
    FolderStoreOptions options;
    options.lock_patience = std::chrono::milliseconds(0);
    options.warn = [this](const std::string& line) { warnings.push_back(line); };
    return open_folder_store(path, of, options);
  }
  fs::path record(RecordKey key) const { return path / "records" / record_file_name(key); }
};

void rewrite(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

Segment segment(DurableStore& store, std::int64_t first, std::int64_t end,
                const std::string& content) {
  Segment s;
  s.first_frame = first;
  s.end_frame = end;
  s.file = store.segment_draft(first);
  rewrite(s.file, content);
  for (auto f = first; f < end; ++f) {
    s.latents.emplace_back().fill(static_cast<unsigned char>(f));
  }
  s.notes["sum"] = end;
  return s;
}

TEST(FolderStore, GivesBackWhatWasAcknowledged) {
  Folder folder;
  {
    const auto store = folder.open();
    EXPECT_EQ(store->state().attempt, 1);
    EXPECT_EQ(save(*store, {3, 1}, "latent"), "");
    EXPECT_EQ(save(*store, {12, 2}, std::string("\0x", 2)), "");
    EXPECT_EQ(save(*store, {3, 2}, ""), "");
  }
  const auto store = folder.open();
  EXPECT_EQ(store->state().attempt, 2);
  EXPECT_THAT(store->state().records,
              ElementsAre(RecordKey{3, 1}, RecordKey{3, 2}, RecordKey{12, 2}));
  EXPECT_EQ(text_of(store->load_record({3, 1})), "latent");
  EXPECT_EQ(store->load_record({12, 2}).size(), 2U);
  EXPECT_THAT(folder.warnings, IsEmpty());
}

TEST(FolderStore, ForgetsDeletedRecords) {
  Folder folder;
  {
    const auto store = folder.open();
    save(*store, {3, 1}, "a");
    save(*store, {3, 2}, "b");
    store->delete_record({3, 1});
    store->delete_record({99, 1});
    store->flush();
  }
  EXPECT_THAT(folder.open()->state().records, ElementsAre(RecordKey{3, 2}));
}

TEST(FolderStore, IgnoresDamagedRecordsWithAWarning) {
  Folder folder;
  {
    const auto store = folder.open();
    for (int at = 0; at < 5; ++at) save(*store, {at, 1}, "the latent of a frame");
  }
  const auto whole = media::read_file(folder.record({0, 1}), 1000);
  auto flipped = whole;
  flipped[kRecordHeaderBytes + 4] ^= 1;
  rewrite(folder.record({0, 1}), flipped);
  rewrite(folder.record({1, 1}), whole.substr(0, whole.size() - 5));
  rewrite(folder.record({2, 1}), whole);  // a good record under another's name
  rewrite(folder.record({3, 1}), "");
  rewrite(folder.path / "records" / "notes.txt", "something else");
  const auto store = folder.open();
  EXPECT_THAT(store->state().records, ElementsAre(RecordKey{4, 1}));
  ASSERT_EQ(folder.warnings.size(), 5U);
  EXPECT_EQ(code_of([&] { store->load_record({0, 1}); }), ErrorCode::kNotFound);
}

TEST(FolderStore, NeverTrustsARecordOfAnotherJob) {
  Folder folder, other;
  {
    const auto store = folder.open();
    const auto foreign = other.open(identity("a dog"));
    save(*store, {0, 1}, "cat");
    save(*foreign, {0, 1}, "dog");
  }
  fs::copy_file(other.record({0, 1}), folder.record({0, 1}), fs::copy_options::overwrite_existing);
  EXPECT_THAT(folder.open()->state().records, IsEmpty());
  EXPECT_THAT(folder.warnings, ElementsAre(HasSubstr("another job")));
}

TEST(FolderStore, RefusesAnotherJobAndNamesWhatDiffers) {
  Folder folder;
  folder.open();
  std::string message;
  EXPECT_EQ(code_of([&] { folder.open(identity("a dog")); }, &message),
            ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("/request/prompt: \"a cat\" there, \"a dog\" now"));
}

TEST(FolderStore, RefusesAFolderWithOtherThingsInIt) {
  TemporaryFolder temporary;
  rewrite(temporary / "holiday.jpg", "x");
  EXPECT_EQ(code_of([&] { open_folder_store(temporary.path(), identity()); }), ErrorCode::kIo);
  EXPECT_TRUE(fs::exists(temporary / "holiday.jpg"));
}

TEST(FolderStore, HasOneOwnerAtATime) {
  Folder folder;
  const auto store = folder.open();
  std::string message;
  EXPECT_EQ(code_of([&] { folder.open(); }, &message), ErrorCode::kUnavailable);
  EXPECT_THAT(message, HasSubstr("process " + std::to_string(::getpid())));
}

TEST(FolderStore, StopsAnOwnerWhoseFolderWasTakenOver) {
  Folder folder;
  const auto store = folder.open();
  EXPECT_EQ(save(*store, {0, 1}, "early"), "");
  // As a successor on another machine would, where locks are not shared.
  media::write_file_atomically(folder.path / "generation", "2\n");
  EXPECT_THAT(save(*store, {1, 1}, "late"), HasSubstr("taken over by attempt 2"));
  EXPECT_FALSE(fs::exists(folder.record({1, 1})));
  auto late = segment(*store, 0, 2, "late");
  EXPECT_EQ(code_of([&] { store->commit_segment(late); }), ErrorCode::kUnavailable);
}

TEST(FolderStore, ARecordWithoutItsNameDoesNotCount) {
  Folder folder;
  folder.open();
  rewrite(folder.path / "records" / "00000000.00001.rec.tmp", "half");
  EXPECT_THAT(folder.open()->state().records, IsEmpty());
  EXPECT_FALSE(fs::exists(folder.path / "records" / "00000000.00001.rec.tmp"));
}

TEST(FolderStore, SegmentsComeBackWithDigestsAndNotes) {
  Folder folder;
  {
    const auto store = folder.open();
    store->commit_segment(segment(*store, 0, 4, "first"));
    const auto second = store->commit_segment(segment(*store, 4, 6, "second"));
    EXPECT_EQ(media::read_file(second.file, 100), "second");
    rewrite(store->segment_draft(6), "never committed");
  }
  const auto store = folder.open();
  const auto& state = store->state();
  ASSERT_EQ(state.segments.size(), 2U);
  EXPECT_EQ(state.first_missing_frame(), 6);
  EXPECT_EQ(state.resume_state().first_missing_frame, 6);
  EXPECT_EQ(state.segments[1].latents[1][0], 5);
  EXPECT_EQ(state.segments[1].notes["sum"], 6);
  EXPECT_EQ(media::read_file(state.segments[0].file, 100), "first");
  EXPECT_FALSE(fs::exists(folder.path / "segments" / "draft-1-00000006.mp4"));
}

TEST(FolderStore, OutputIsMissingFromTheFirstDamagedSegmentOn) {
  Folder folder;
  {
    const auto store = folder.open();
    for (int s = 0; s < 3; ++s) store->commit_segment(segment(*store, 4 * s, 4 * s + 4, "video"));
  }
  rewrite(folder.path / "segments" / "00000004-00000008.mp4", "vidio");
  const auto store = folder.open();
  EXPECT_EQ(store->state().first_missing_frame(), 4);
  EXPECT_EQ(folder.warnings.size(), 2U);
  // It is made again under the same name.
  store->commit_segment(segment(*store, 4, 8, "video"));
}

TEST(FolderStore, ASegmentCountsOnlyWhenCommitted) {
  Folder folder;
  {
    FolderStoreOptions options;
    options.step = [](const char* where) {
      if (std::string(where) == "segment") fail(ErrorCode::kIo, "lost");
    };
    const auto store = open_folder_store(folder.path, identity(), options);
    EXPECT_THROW(store->commit_segment(segment(*store, 0, 4, "first")), Error);
  }
  EXPECT_EQ(folder.open()->state().first_missing_frame(), 0);
}

TEST(FolderStore, NothingAfterAFailedWriteCountsAsDurable) {
  Folder folder;
  FolderStoreOptions options;
  bool broken = true;
  options.step = [&](const char*) {
    if (std::exchange(broken, false)) fail(ErrorCode::kIo, "no space");
  };
  const auto store = open_folder_store(folder.path, identity(), options);
  EXPECT_THAT(save(*store, {0, 1}, "a"), HasSubstr("no space"));
  EXPECT_THAT(save(*store, {0, 2}, "b"), HasSubstr("no space"));
}

TEST(FolderStore, KeepsTheIntervalOfItsRecordsAsLongAsThereAreSome) {
  Folder folder;
  {
    const auto store = folder.open();
    EXPECT_EQ(store->state().checkpoint_interval, 0);
    store->keep_interval(2);
    EXPECT_EQ(save(*store, {4, 2}, "x"), "");
  }
  {
    const auto store = folder.open();
    EXPECT_EQ(store->state().checkpoint_interval, 2);
    store->delete_record({4, 2});
    store->flush();
  }
  EXPECT_EQ(folder.open()->state().checkpoint_interval, 0);
}

}  // namespace
}  // namespace seamwright::worker
