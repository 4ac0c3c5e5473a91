from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("school", "0001_initial")]
    operations = [
        migrations.AddField("campus", f"extra_{number}", models.CharField(max_length=20, default="", db_default=""))
        for number in range(10)
    ]
