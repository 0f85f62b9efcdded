// Folders that are made for good.
#include "media/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/media/temporary_folder.h"

namespace seamwright::media {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(CreateFolders, SyncsEveryFolderThatGotANewOne) {
  TemporaryFolder folder;
  EXPECT_THAT(create_folders(folder / "a/b/c/"),
              ElementsAre(folder / "a/b", folder / "a", folder.path()));
  EXPECT_TRUE(std::filesystem::is_directory(folder / "a/b/c"));
  EXPECT_THAT(create_folders(folder / "a/b"), IsEmpty());
}

TEST(CreateFolders, SaysWhichFolderCannotBeMade) {
  TemporaryFolder folder;
  write_file_atomically(folder / "file", "x");
  EXPECT_EQ(code_of([&] { create_folders(folder / "file/sub"); }), ErrorCode::kIo);
}

TEST(FileSign, ChangesWithEveryWrite) {
  TemporaryFolder folder;
  EXPECT_EQ(file_sign(folder / "f"), 0U);
  write_file_atomically(folder / "f", "a");
  const auto first = file_sign(folder / "f");
  EXPECT_NE(first, 0U);
  EXPECT_EQ(file_sign(folder / "f"), first);
  write_file_atomically(folder / "f", "ab");
  EXPECT_NE(file_sign(folder / "f"), first);
}

}  // namespace
}  // namespace seamwright::media
