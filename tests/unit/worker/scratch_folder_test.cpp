// Temporary folders of gangs: no two share one, and what a killed process left is removed.
#include "worker/scratch_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "base/error.h"

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;

class ScratchFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "scratch-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    parent_ = name;
  }
  void TearDown() override { fs::remove_all(parent_); }
  std::ptrdiff_t folders() const {
    return std::distance(fs::directory_iterator(parent_), fs::directory_iterator());
  }
  fs::path parent_;
};

TEST_F(ScratchFolderTest, GoesWithItsObjectAndWithAllThatLiesInIt) {
  {
    const ScratchFolder one(parent_), other(parent_);
    EXPECT_NE(one.path(), other.path());
    std::ofstream(one.path() / "draft.mp4") << "x";
    EXPECT_EQ(folders(), 2);
  }
  EXPECT_EQ(folders(), 0);
}

TEST_F(ScratchFolderTest, RemovesWhatAKilledProcessLeftAndNothingThatIsInUse) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto* left = new ScratchFolder(parent_);
    std::ofstream(left->path() / "draft.mp4") << "x";
    ::raise(SIGKILL);
  }
  ASSERT_GT(child, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(folders(), 1) << "the killed process must have left its folder";
  const ScratchFolder one(parent_);
  EXPECT_EQ(folders(), 1);
  const ScratchFolder other(parent_);
  EXPECT_TRUE(fs::exists(one.path()));
  EXPECT_EQ(folders(), 2);
}

TEST_F(ScratchFolderTest, LeavesLinksAndOtherNamesAlone) {
  fs::create_directory(parent_ / "mine");
  fs::create_directory_symlink(parent_ / "mine", parent_ / "seamwright-gang-link");
  const ScratchFolder one(parent_);
  EXPECT_TRUE(fs::exists(parent_ / "mine"));
  EXPECT_TRUE(fs::is_symlink(parent_ / "seamwright-gang-link"));
}

TEST_F(ScratchFolderTest, SaysWhatToDoWhereTheParentCannotBeWrittenTo) {
  try {
    const ScratchFolder folder(parent_ / "absent");
    FAIL() << "made a folder in an absent one";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(std::string(error.what()).find("TMPDIR"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace seamwright::worker
