// The full public size of what files_test.cpp holds to at an eighth; minutes and 12 GB of memory.
#include "tests/integration/file_runs.h"

namespace seamwright {
namespace {

TEST(CommunityFilesFullSize, BothLayoutsGiveTheSameLatents) {
  testing_support::both_layouts_agree(
      "1", {"--frames", "2", "--size", "64x64", "--steps", "1", "--guidance", "1"});
}

}  // namespace
}  // namespace seamwright
