#include "base/error.h"

#include <gtest/gtest.h>

#include <string>

#include "base/sha256.h"

namespace seamwright {
namespace {

TEST(Error, CarriesCodeMessageAndPlace) {
  try {
    require(1 > 2, "frames must be at least {}, not {}", 1, 0);
    FAIL() << "require did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_STREQ(error.what(), "frames must be at least 1, not 0");
    EXPECT_NE(std::string(error.where().file_name()).find("error_test"), std::string::npos);
  }
}

TEST(Sha256, MatchesPublishedVector) {
  Sha256 hash;
  hash.update("a");
  hash.update("bc");
  EXPECT_EQ(to_hex(hash.finish()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace seamwright
