"""What an instance is given: each device adds to a LaunchPlan."""
