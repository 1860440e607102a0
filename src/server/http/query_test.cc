#include "server/http/query.h"

#include <gtest/gtest.h>

namespace upg::server::http {
namespace {

TEST(Query, PercentDecodingLeavesWhatIsNone) {
  EXPECT_EQ(percent_decode("a%20b%2Fc"), "a b/c");
  EXPECT_EQ(percent_decode("%e2%82%AC"), "\xe2\x82\xac");
  EXPECT_EQ(percent_decode("100%"), "100%");
  EXPECT_EQ(percent_decode("%4"), "%4");
  EXPECT_EQ(percent_decode("%zz%-1%+1"), "%zz%-1%+1");
  EXPECT_EQ(percent_decode("%00").size(), 1U);
}

TEST(Query, TheFirstValueOfAName) {
  EXPECT_EQ(query_value("model=a%20b&model=c", "model"), "a b");
  EXPECT_EQ(query_value("x=1&model=a=b", "model"), "a=b");
  EXPECT_EQ(query_value("models=1", "model"), "");
  EXPECT_EQ(query_value("model", "model"), "");
  EXPECT_EQ(query_value("&&model=&", "model"), "");
  EXPECT_EQ(query_value("", "model"), "");
}

}  // namespace
}  // namespace upg::server::http
