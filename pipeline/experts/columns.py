"""The columns of a person, in the table and in a file's header."""

USERNAME = "username"

# table column -> header, in the order of the product's CSV header
HEADERS: dict[str, str] = {
    USERNAME: "Username",
    "first_name": "First Name",
    "last_name": "Last Name",
    "job_title": "Job Title",
    "company": "Company",
    "bio": "Bio",
    "hourly_rate": "Hourly Rate",
    "currency": "Currency",
    "profile_url": "Profile URL",
    "profile_url_utm": "Profile URL with UTM",
    "category": "category",
}
